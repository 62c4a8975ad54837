"""What a runbook says is true where the system runs in containers."""

import re

import pytest

from tests.alerts.test_runbooks import BOOKS, commands, inline
from tests.compose.conftest import Model
from tools.base.files import ROOT

TABLE = re.search(r"\| verb \| in Docker \|\n(?:\|.*\n)+", (ROOT / "docs/docker.md").read_text("utf-8"))
EXECUTED = sorted({one for book in BOOKS for one in [*commands(book), *inline(book)]})


def _verbs(*, there: bool) -> set[str]:
    """Those that docs/docker.md says to be there in Docker, or not."""
    assert TABLE is not None
    rows = [re.split(r"(?<!\\) \| ", row.strip("| ")) for row in TABLE[0].splitlines()[2:]]
    chosen = [verbs for verbs, says in rows if says.startswith("not:") is not there]
    return {verb for verbs in chosen for verb in re.findall(r"`make ([a-z-]+)", verbs)}


@pytest.mark.parametrize("command", [one for one in EXECUTED if one.startswith("make ")])
def test_a_verb_of_a_runbook_is_there_in_docker_or_the_line_says_what_is(command: str) -> None:
    verb = command.split()[1]
    if verb in _verbs(there=False):
        lines = [line for book in BOOKS for line in book.read_text("utf-8").splitlines() if f"`{command}`" in line]
        assert lines
        assert all("Docker: [" in line for line in lines)
    else:
        assert verb in _verbs(there=True) | {"check", "plan"}  # these two look at files


@pytest.mark.parametrize("command", [one for one in EXECUTED if one.startswith("curl ")])
def test_an_address_of_a_runbook_is_published(command: str, services: dict[str, Model]) -> None:
    published = {port["published"] for one in services.values() for port in one.get("ports", ())}
    assert set(re.findall(r"127\.0\.0\.1:(\d+)", command)) <= published
