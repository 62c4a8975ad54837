"""Commands ask this clone's stack, or say that there is none; never another clone's that has the usual ports."""

import http.server
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from tests.support.clones import copy
from tools.base.errors import ToolError
from tools.stack import stack
from tools.stack.ports import Ports, variable
from tools.stack.stack import Stack
from tools.stack.where import where

ASKING = {
    "trace": ["a" * 32],
    "slow": [],
    "alerts": [],
    "silence": ["HighErrorRate"],
    "unsilence": ["HighErrorRate"],
    "preview": [],
    "dashboards": ["pull"],
    "drill": ["HighErrorRate"],
    "load": [],
    "run": ["true"],
    "dead": [],
    "replay": [],
    "erase": ["5511999990000"],
}
"""Every verb that asks a running stack, and how."""


@pytest.fixture
def stranger() -> Iterator[SimpleNamespace]:
    """Answers on a port, and remembers by whom it was asked for what."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield SimpleNamespace(port=server.server_address[1], asked=asked)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy(tmp_path_factory.mktemp("clone"))


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of this clone, in which nothing runs; what would redirect the tools is not set."""
    monkeypatch.setattr(stack, "STATE", tmp_path / "state")
    for name in [name for name in os.environ if name.endswith(("_URL", "_PORT"))]:
        monkeypatch.delenv(name)
    return tmp_path / "state"


def record(state: Path, name: str, ports: Ports) -> None:
    """As if this component of a stack, started on these ports, were our own process."""
    (state / "run").mkdir(parents=True)
    started = psutil.Process().create_time() - psutil.boot_time()
    (state / "run" / f"{name}.json").write_text(json.dumps({"pid": os.getpid(), "started": started}), "utf-8")
    (state / stack.CHOICES_FILE).write_text(json.dumps({"ports": asdict(ports), "store": "jaeger"}), "utf-8")


def test_the_running_stack_is_asked_on_the_ports_it_was_started_with(state: Path) -> None:
    ports = Ports.free()
    record(state, "prometheus", ports)
    assert where("prometheus") == f"http://127.0.0.1:{ports.prometheus}"


def test_the_environments_address_goes_before_the_running_stacks(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(state, "prometheus", Ports.free())
    monkeypatch.setenv("PROMETHEUS_URL", "http://prometheus.example/prefix/")
    assert where("prometheus") == "http://prometheus.example/prefix"


@pytest.mark.usefixtures("state")
def test_where_nothing_runs_the_usual_port_is_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_PORT", str(Ports.free().prometheus))
    with pytest.raises(ToolError) as failure:
        where("prometheus")
    assert (
        str(failure.value)
        == "prometheus of this clone is not running: make up or docker compose up -d, or set PROMETHEUS_URL."
    )


@pytest.mark.usefixtures("state")
def test_who_has_the_usual_port_instead_is_named(stranger: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_PORT", str(stranger.port))
    with pytest.raises(ToolError) as failure:
        where("prometheus")
    name = f"{psutil.Process().name()} (pid {os.getpid()})"
    assert str(failure.value).endswith(f" Who answers at http://127.0.0.1:{stranger.port} is none of its: {name}.")


def test_a_part_that_died_is_nobody_though_the_others_run(state: Path) -> None:
    record(state, "redis", Ports.free())
    with pytest.raises(ToolError, match=r"^prometheus of this clone is not running"):
        where("prometheus")


@pytest.mark.parametrize("damaged", ["", "{", "[]"])
def test_a_record_that_a_power_loss_left_damaged_is_none(state: Path, damaged: str) -> None:
    record(state, "prometheus", Ports.free())
    for file in (state / stack.CHOICES_FILE, state / "run" / "prometheus.json"):
        file.write_text(damaged, "utf-8")
    assert stack.this_clone().pid("prometheus") is None


@pytest.mark.parametrize("verb", ASKING)
def test_no_verb_asks_another_clones_stack(clone: Path, stranger: SimpleNamespace, verb: str) -> None:
    environment = {name: text for name, text in os.environ.items() if not name.endswith("_URL")}
    environment |= {variable(port): str(stranger.port) for port in asdict(Ports())}
    run = subprocess.run(
        [clone / ".venv/bin/python", clone / ".venv/bin/clinic", verb, *ASKING[verb]],
        env=environment,
        capture_output=True,
        encoding="utf-8",
    )
    said = run.stdout + run.stderr
    assert (run.returncode, stranger.asked) == (1, [])
    assert re.search("not running|nothing is running", said)
    assert "make up" in said
    assert "Traceback" not in said


def test_two_stacks_beside_each_other_are_each_asked_by_their_own_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for name in ("one", "other"):
        ports = Ports.free()
        one = Stack(tmp_path / name, ports, store="jaeger")
        one.start("redis")
        (one.folder / stack.CHOICES_FILE).write_text(json.dumps({"ports": asdict(ports), "store": "jaeger"}), "utf-8")
        made.append(one)
    try:
        for one in made:
            monkeypatch.setattr(stack, "STATE", one.folder)
            assert where("redis") == one.url("redis")
    finally:
        for one in made:
            one.remove()
