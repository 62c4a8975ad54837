"""What whoever is on call reads: short, with commands that exist, links that resolve, and a page that agrees."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.alerts.conftest import ALERTS, RUNBOOKS
from tests.support.stored import WHOLE
from tools.base.files import ROOT, Sources
from tools.check.consumers import knows_what_is_asked
from tools.cli import SECTIONS
from tools.model.dashboard import shipped_dashboards
from tools.model.repository import Repository
from tools.stack.ports import Ports

PAGE = ROOT / "docs" / "alerts.md"
BOOKS = sorted(RUNBOOKS.glob("*.md"))
LINES = 25
PORTS = Ports()
ENDPOINTS = {  # what a runbook may ask; of `query` any
    PORTS.prometheus: {
        "/-/ready",
        "/-/reload",
        "/api/v1/query",
        "/api/v1/targets",
        "/api/v1/rules",
        "/api/v1/alerts",
        "/api/v1/alertmanagers",
    },
    PORTS.service: {"/health", "/metrics/summary"},
    PORTS.collector_derived: {"/metrics"},
}
TARGETS = {verb for verbs in SECTIONS.values() for verb in verbs}


def commands(book: Path) -> list[str]:
    [block] = re.findall(r"```sh\n(.*?)```", book.read_text(), re.DOTALL)
    return str(block).splitlines()


def inline(book: Path) -> Iterator[str]:
    """Commands within the text."""
    for code in re.findall(r"`([^`\n]+)`", book.read_text()):
        if code.startswith(("make ", "curl ")):
            yield code


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.stem)
def test_a_runbook_is_short_and_has_all_its_parts(book: Path) -> None:
    lines = book.read_text().splitlines()
    severity = ALERTS[book.stem].labels["severity"]
    assert lines[0] == f"# {book.stem}"
    assert lines[1].startswith("Always fires." if severity == "none" else f"{severity.title()}. ")
    assert len(lines) <= LINES
    starts = ("**Patients:** ", "**Look**", "**Causes, and how to mend them**", "**Silence:** ")
    assert [sum(line.startswith(start) for line in lines) for start in starts] == [1, 1, 1, 1]
    assert f"`make silence ALERT={book.stem}" in lines[-1]
    assert len(commands(book)) == 3


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.stem)
def test_every_command_is_one_that_exists(book: Path) -> None:
    for command in [*commands(book), *inline(book)]:
        program, *arguments = shlex.split(command)
        assert program in {"make", "curl"}
        if program == "make":
            target, *variables = arguments
            assert target in TARGETS
            assert all(re.fullmatch(r"[A-Z]+=\S+", variable) for variable in variables)
        else:
            [url] = [urlsplit(argument) for argument in arguments if argument.startswith("http")]
            assert url.hostname == "127.0.0.1"
            assert url.path in ENDPOINTS[url.port or 0]
            assert (url.path == "/api/v1/query") == ("--data-urlencode" in arguments)
            assert (url.path == "/-/reload") == ("POST" in arguments)


def test_every_query_asks_for_what_the_contract_has() -> None:
    queries = [
        (book.stem, shlex.split(command)[-1].removeprefix("query="))
        for book in BOOKS
        for command in commands(book)
        if "--data-urlencode" in command
    ]
    assert len(queries) > len(BOOKS) / 2
    rules = "".join(f"      - {{alert: {name}, expr: {_quoted(query)}}}\n" for name, query in queries)
    path = "prometheus/rules/queries_of_runbooks.yaml"
    sources = Sources.of_disk().edited(path, f"groups:\n  - name: queries\n    rules:\n{rules}")
    assert list(knows_what_is_asked(Repository(sources))) == []


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@pytest.mark.parametrize("page", [*BOOKS, PAGE], ids=lambda page: page.stem)
def test_every_link_resolves(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.is_file(), link
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}


TITLES = {panel["title"].split(" · ")[0] for one in shipped_dashboards() for panel in one.shown}
SPANS = {name for name, _ in WHOLE} | {f"cache.{operation}" for operation in ("get", "set", "delete")}
ABOUT_THE_DATABASE = ("HighWebhookLatency", "CriticalWebhookLatency", "SlowDatabaseQueries", "SlowContextHydration")


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.stem)
def test_a_panel_is_named_by_the_title_that_it_has(book: Path) -> None:
    named = re.findall(r"\bpanels? (\S+?)(?=[\s.,:;)])", re.sub(r'"[^"]+"', '"…"', book.read_text()), re.IGNORECASE)
    assert set(named) <= {'"…"'}
    assert set(re.findall(r'\bpanel "([^"]+)"', book.read_text(), re.IGNORECASE)) <= TITLES


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.stem)
def test_spans_are_called_as_they_are_in_a_trace(book: Path) -> None:
    code = set(re.findall(r"`([^`\n]+)`", book.read_text()))
    dotted = {one for one in code if re.fullmatch(r"[a-z0-9]+(\.[a-z]+)+", one)} - {"service.name"}
    statements = {one for one in code if re.fullmatch(r"(SELECT|INSERT|UPDATE|DELETE|WITH|BEGIN|COMMIT);?", one)}
    assert dotted | statements <= SPANS


@pytest.mark.parametrize("name", [*ABOUT_THE_DATABASE, "SlowIdempotencyCheck"])
def test_whoever_looks_for_lost_time_is_told_of_waiting_for_a_connection(name: str) -> None:
    assert "db.acquire" in SPANS
    assert "`db.acquire`" in (RUNBOOKS / f"{name}.md").read_text()
