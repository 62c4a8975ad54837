"""A whole stack of its own for drills, and what of it has to be the same after each."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from tools.drill import restore
from tools.stack.ports import Ports
from tools.stack.programs import ROOT
from tools.stack.stack import CHOICES_FILE, Stack


def run(code: str, stack: Stack) -> subprocess.Popen[str]:
    """Python that knows this stack as the clone's: another process, so that none of its children are ours."""
    begin = (
        "import sys; from pathlib import Path; from tools import cli; from tools.stack import stack; "
        "stack.RECEIVERS = None; "  # nobody real
        f"stack.STATE = Path({str(stack.folder)!r}); "
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTEST_CURRENT_TEST"}
    return subprocess.Popen(
        [sys.executable, "-c", begin + code], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )


def make(target: str, stack: Stack) -> str:
    """What `make up` or `make down` says."""
    process = run(f"sys.exit(cli.run([{target!r}]))", stack)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything that `make up` starts."""
    made = Stack(tmp_path_factory.mktemp("stack"), Ports.free(), store="jaeger")
    choose(made)
    try:
        process = run(f"stack.Stack(stack.STATE, stack.Ports(**{asdict(made.ports)}), store='jaeger').up()", made)
        process.communicate()
        assert process.returncode == 0
        yield made
    finally:
        made.remove()


def choose(stack: Stack) -> None:
    """Write down the ports, as `make up` does."""
    choices = {"ports": asdict(stack.ports), "store": stack.store}
    (stack.folder / CHOICES_FILE).write_text(json.dumps(choices), "utf-8")


def state(stack: Stack) -> dict[str, Any]:
    """What runs and with what, what was loaded, and what is in the way."""

    def get(name: str, path: str) -> Any:
        return httpx.get(stack.url(name) + path, trust_env=False).raise_for_status().json()

    groups = get("prometheus", "/api/v1/rules")["data"]["groups"]
    return {
        "processes": {name: process(stack, name) for name in stack.names},
        "files": {name: restore.configuration(stack, name).read_text() for name in ("prometheus", "alertmanager")},
        "prometheus": get("prometheus", "/api/v1/status/config")["data"]["yaml"],
        "alertmanager": get("alertmanager", "/api/v2/status")["config"]["original"],
        "rules": [(rule["name"], rule["query"], rule.get("duration")) for group in groups for rule in group["rules"]],
        "faults": httpx.put(stack.url("simulator") + "/faults", json={}, trust_env=False).json(),
        "folder": restore.folder(stack).exists(),
        "schema": fetch(stack, "select count(*) from pg_namespace where nspname = 'drill'"),
        "triggers": fetch(stack, "select count(*) from pg_trigger where not tgisinternal"),
    }


def fetch(stack: Stack, query: str) -> Any:
    """The one value that SQL gives."""
    with psycopg.connect(stack.url("postgres")) as connection:
        [value] = connection.execute(query.encode()).fetchone() or [None]
        return value


def process(stack: Stack, name: str) -> tuple[list[str], list[tuple[str, str]], bool]:
    """Its command, its environment, and whether it goes on."""
    pid = stack.pid(name)
    assert pid, f"{name} does not run"
    found = psutil.Process(pid)
    own = sorted((key, value) for key, value in found.environ().items() if key != "PYTEST_CURRENT_TEST")
    return found.cmdline(), own, found.status() != psutil.STATUS_STOPPED
