"""Every command of every runbook runs, as it is written, in a fresh copy of this repository with a running stack."""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from tests.alerts.test_runbooks import BOOKS, PORTS, commands, inline
from tests.support.clones import copy
from tools.base.files import ROOT
from tools.stack import docker
from tools.stack.containers import Containers
from tools.stack.ports import Ports, variable

WHY = re.compile(r"make why ALERT=\w+")  # each page's own, in its first line: one stands for all
EXECUTED = sorted(
    {one for book in BOOKS for one in [*commands(book), *inline(book)] if not WHY.fullmatch(one)} - {"make restart S=…"}
)
SAYS = {
    "make status": "component state pid",
    "make dead": "",
    "make replay": "",
    "make check": "agree",
    "make plan": "Nothing changes",
    "make trace": "POST /webhooks/evolution",
}
"""A part of what they print, spaces counted as one."""


@dataclass(frozen=True)
class Clone:
    """A copy of the repository in which `make up` was run, on free ports."""

    folder: Path
    ports: Ports

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """A command of a runbook, with the ports of this copy."""
        for name, port in asdict(PORTS).items():
            command = command.replace(f"127.0.0.1:{port}/", f"127.0.0.1:{getattr(self.ports, name)}/")
        environment = {name: text for name, text in os.environ.items() if not name.startswith("MAKE")}
        environment["COLUMNS"] = "160"
        environment |= {variable(name): str(port) for name, port in asdict(self.ports).items()}
        program, *words = shlex.split(command)
        checked = [program, *(["--fail"] if program == "curl" else []), *words]
        return subprocess.run(
            checked, cwd=self.folder, env=environment, capture_output=True, encoding="utf-8", timeout=120, check=False
        )


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """As a newcomer has it, but for the installed packages, which are shared."""
    folder = copy(tmp_path_factory.mktemp("clone"))
    for words in (
        ("init", "-q"),
        ("add", "-A"),
        ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "copy"),
    ):
        subprocess.run(("git", *words), cwd=folder, check=True)
    made = Clone(folder, Ports.free())
    started = made.run("make up")
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        yield made
    finally:
        made.run("make -s down")


@pytest.fixture(scope="module")
def containers() -> Clone:
    """This checkout, where it runs in containers: what no test can start without images."""
    if not docker.running():
        pytest.skip("no containers of this checkout run: docker compose up -d --wait")
    return Clone(ROOT, Containers().ports)


@pytest.mark.parametrize("command", EXECUTED)
def test_a_command_of_a_runbook_runs(clone: Clone, command: str) -> None:
    _runs(clone, command)


@pytest.mark.parametrize("command", [one for one in EXECUTED if one != "make up"])
def test_a_command_of_a_runbook_runs_in_docker_too(containers: Clone, command: str) -> None:
    _runs(containers, command, COMPOSE_TELLS)


COMPOSE_TELLS = r"( ?Container \S+ \w+ *\n)*"
"""Docker Compose's progress is on stderr."""


def _runs(clone: Clone, command: str, tells: str = "") -> None:
    run = clone.run(command)
    assert (run.returncode, re.fullmatch(tells, run.stderr) is not None) == (0, True), run.stdout + run.stderr
    if command.startswith("curl") and "/api/v1/" in command:
        assert json.loads(run.stdout)["status"] == "success"
    assert SAYS.get(command, "") in re.sub(" +", " ", run.stdout)


def test_an_alert_that_was_silent_has_no_cause(clone: Clone) -> None:
    run = clone.run("make why ALERT=TargetDown")
    assert run.returncode == 2  # make's own, of a command that failed
    assert "TargetDown was not active in the last 24 hours; name the time: make why SINCE=30m" in run.stderr
