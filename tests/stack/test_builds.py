"""The first start: what is needed first is built first, what is there runs already, and the rest joins."""

import io
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from rich.console import Console

from tools.base.errors import ToolError
from tools.base.files import ROOT
from tools.base.wait import until
from tools.commands import up
from tools.stack import logged, programs
from tools.stack.builds import LATER, NEEDED, Builds
from tools.stack.ports import Ports
from tools.stack.programs import Program
from tools.stack.stack import Stack

# Answers every question where Jaeger is asked whether it is well.
WELL = f"""#!{sys.executable}
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

class Well(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

host, _, port = os.environ["JAEGER_HEALTH_ENDPOINT"].partition(":")
HTTPServer((host, int(port)), Well).serve_forever()
"""
# Says what it was asked to do. It makes the first program once it was asked for what the second one is made of.
GO = """#!/bin/sh
echo "$*" >> {log}
case "$*" in
  *-n*) ;;
  *first@v1*) until grep -q -e '-n second@v1' {log}; do sleep 0.05; done; touch "$GOBIN/result" ;;
  *) touch "$GOBIN/result" ;;
esac
"""


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is built yet, and PATH has no Go program but a Go that says its version."""
    monkeypatch.setattr(programs, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/usr/bin:/bin")
    monkeypatch.delenv("PROGRAMS", raising=False)
    (tmp_path / "path").mkdir()
    executable(tmp_path / "path" / "go", "#!/bin/sh\necho go version go1.99.0\n")
    return tmp_path / "cache"


def executable(file: Path, text: str) -> Path:
    file.write_text(text)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


def made_by(monkeypatch: pytest.MonkeyPatch, name: str, *command: str) -> None:
    program = Program(name, "1.2.3", (f"no-{name}", "--version"), "result", (command,), usually="1 min")
    monkeypatch.setitem(programs._PROGRAMS, name, lambda: program)


def silent(name: str, state: str) -> None:
    """Nobody is told."""


def test_programs_are_built_one_after_the_other_in_the_order_of_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = NEEDED | LATER
    for name in wanted.values():
        script = f"echo {name} begins >> {tmp_path}/log; sleep 0.1; echo {name} ends >> {tmp_path}/log"
        made_by(monkeypatch, name, "sh", "-c", f"{script}; touch {{folder}}/result")
    with Builds(wanted, silent) as made:
        for component in wanted:
            until(partial(made.has, component), component)
    order = ["otelcol", "prometheus", "alertmanager", "jaeger"]
    lines = [f"{name} {what}" for name in order for what in ("begins", "ends")]
    assert (tmp_path / "log").read_text().splitlines() == lines


def test_what_the_next_is_made_of_is_fetched_while_one_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    executable(tmp_path / "path" / "go", GO.format(log=log))
    monkeypatch.setattr(programs, "on_path", lambda name: tmp_path / "path" / "go" if name == "go" else None)
    for name in ("first", "second"):
        made_by(monkeypatch, name, "go", "install", f"{name}@v1")
    with Builds({"a": "first", "b": "second"}, silent) as made:
        until(lambda: made.has("a") and made.has("b"), "both")
    asked = log.read_text().splitlines()
    assert sorted(asked[:2]) == ["install -n second@v1", "install first@v1"]
    assert asked[2:] == ["install second@v1"]


def test_what_is_there_already_is_not_built_and_nobody_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made_by(monkeypatch, "first", "sh", "-c", "touch {folder}/result")
    programs.ensure("first")
    told: list[tuple[str, str]] = []
    with Builds({"a": "first"}, lambda *news: told.append(news)) as made:
        assert made.missing == {}
        assert made.has("a")
        assert made.has("redis")
    assert told == []


def test_a_program_that_cannot_be_built_is_told_to_who_waits_for_it_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made_by(monkeypatch, "first", "sh", "-c", "echo the reason; exit 7")
    with (
        Builds({"a": "first"}, silent) as made,
        pytest.raises(ToolError, match=r"(?s)^first 1\.2\.3 could not be built: .* ended with 7\..*\n  the reason$"),
    ):
        until(lambda: made.has("a"), "the failure")


@pytest.fixture
def interruptible() -> Iterator[None]:
    """What a test starts can be interrupted, though a shell's background job, as CI may be, hands on that it cannot."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("deaf", ["", "trap '' INT; "], ids=["as a rule", "where a shell lets it ignore Ctrl-C"])
def test_who_leaves_does_not_wait_for_a_build_and_nothing_half_made_stays(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaf: str
) -> None:
    monkeypatch.setattr(logged, "_STOP_SECONDS", 0.1 if deaf else 600)
    made_by(monkeypatch, "first", "sh", "-c", f"{deaf}touch {tmp_path}/begun; exec sleep 3600")
    made_by(monkeypatch, "second", "sh", "-c", f"touch {tmp_path}/second")
    with Builds({"a": "first", "b": "second"}, silent):
        until((tmp_path / "begun").exists, "the build to begin")
    assert list((empty_cache / "programs").iterdir()) == []
    assert not (tmp_path / "second").exists()


def test_a_build_leaves_the_processor_to_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    made_by(monkeypatch, "first", "sh", "-c", "nice > {folder}/result")
    assert int(programs.ensure("first").read_text()) == min(os.nice(0) + 10, 19)


# A stack of Redis, which is there, and a Jaeger, which is not


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Stack]:
    made = Stack(tmp_path / "state", Ports.free(), store="jaeger")
    made.names = ("redis", "jaeger")
    made.make_folder()
    yield made
    for name in made.names:
        made.stop(name)  # waits for those, too, that somebody else stopped
    made.remove()


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), record=True, width=200)


def jaeger_made_once(there: Path, monkeypatch: pytest.MonkeyPatch, *, ends: int = 0) -> None:
    """A build that waits for a file."""
    script = f"until [ -e {there} ]; do sleep 0.05; done; cp {there} {{folder}}/result; exit {ends}"
    made_by(monkeypatch, "jaeger", "sh", "-c", script)


def test_what_is_there_runs_while_the_rest_is_built_and_then_joins(
    small: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jaeger_made_once(tmp_path / "jaeger", monkeypatch)
    told: list[tuple[str, str]] = []

    def tell(name: str, state: str) -> None:
        told.append((name, state))
        if (name, state) == ("redis", "ready"):
            executable(tmp_path / "new", WELL).rename(tmp_path / "jaeger")

    with small.builds(tell) as made:
        small.up(report=tell, builds=made)
    assert [state for name, state in told if name == "jaeger"] == [
        "joins when it is built; until then traces wait in the Collector's queue",
        "building 1.2.3 (once, usually 1 min)",
        "built",
        "starting",
        "ready",
    ]
    assert told.index(("redis", "ready")) < told.index(("jaeger", "built"))
    assert [small.state(name) for name in small.names] == ["running", "running"]


def test_up_shows_the_first_series_says_what_is_still_to_come_and_ends_when_all_runs(
    small: Stack, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jaeger_made_once(tmp_path / "jaeger", monkeypatch)

    def first_messages(_: up.FirstMessages) -> None:
        assert [small.state(name) for name in small.names] == ["running", "not running"]
        executable(tmp_path / "new", WELL).rename(tmp_path / "jaeger")

    monkeypatch.setattr(up.FirstMessages, "wait", first_messages)
    up.start(small, console, time.monotonic())
    lines = console.export_text().splitlines()
    beginnings = (
        "jaeger: joins when it is built; until then traces wait in the Collector's queue",
        "Ready after ",
        "The first documented series are in Prometheus ",
        "  health ",
        "jaeger: ready ",
        "Everything is ready after ",
    )
    places = [next(place for place, line in enumerate(lines) if line.startswith(words)) for words in beginnings]
    assert places == sorted(places)
    assert lines[places[1]].endswith(" s but for jaeger, still to be built.")
    assert not any("traces, in Jaeger" in line for line in lines)  # nothing to look at yet
    assert [small.state(name) for name in small.names] == ["running", "running"]


def test_if_what_was_to_join_cannot_be_built_the_rest_goes_on_running(
    small: Stack, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jaeger_made_once(tmp_path / "jaeger", monkeypatch, ends=7)
    monkeypatch.setattr(up.FirstMessages, "wait", lambda *_: (tmp_path / "jaeger").touch())
    with pytest.raises(ToolError, match=r"^jaeger 1\.2\.3 could not be built"):
        up.start(small, console, time.monotonic())
    assert [small.state(name) for name in small.names] == ["running", "not running"]


def test_what_was_stopped_meanwhile_is_not_joined(
    small: Stack, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jaeger_made_once(tmp_path / "never", monkeypatch)

    def stopped(_: up.FirstMessages) -> None:
        Stack(small.folder, small.ports, store="jaeger").down(drain_seconds=0)

    monkeypatch.setattr(up.FirstMessages, "wait", stopped)
    with pytest.raises(ToolError, match=r"^it was stopped meanwhile"):
        up.start(small, console, time.monotonic())
    assert [small.state(name) for name in small.names] == ["not running", "not running"]


# The first messages


class Health(BaseHTTPRequestHandler):
    """A service that is not ready to work when it is asked first."""

    codes: ClassVar[list[int]] = []
    sent: ClassVar[Path]
    seen: ClassVar[list[bool]] = []

    def do_GET(self) -> None:
        self.seen.append(self.sent.exists())
        self.send_response(self.codes.pop(0) if self.codes else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing is written."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[int]:
    """The port of one whose database has no schema when it is asked for the first and the second time."""
    Health.codes, Health.sent, Health.seen = [503, 503], tmp_path / "sent", []
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_the_first_messages_are_sent_once_the_service_takes_them_though_the_worker_still_starts(
    tmp_path: Path, service: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = f"from pathlib import Path; Path({str(tmp_path / 'sent')!r}).open('a').write('once')"
    monkeypatch.setattr(up, "LOAD", (sys.executable, "-c", write))
    stack = Stack(tmp_path / "state", replace(Ports.free(), service=service), store="jaeger")
    told: list[str] = []
    with up.FirstMessages(stack, lambda name, state: told.append(f"{name}: {state}")) as messages:
        messages.report("worker", "starting")
        for name in up.TAKERS:
            assert not (tmp_path / "sent").exists()
            messages.report(name, "ready")
        until(lambda: (tmp_path / "sent").exists() and (tmp_path / "sent").read_text() == "once", "the messages")
        messages.report("worker", "ready")
    assert Health.seen == [False] * 3
    assert (tmp_path / "sent").read_text() == "once"
    assert told[-2:] == [
        "first series: sending 12 messages, waiting until Prometheus shows them",
        "worker: ready",
    ]


# The tests


def test_only_what_a_stack_is_made_of_is_built_before_the_first_tests() -> None:
    """The Makefile, asked what it would do."""
    asked = subprocess.run(("make", "--dry-run", "test"), cwd=ROOT, capture_output=True, text=True, check=True).stdout
    first = asked.index(f"clinic programs {' '.join((NEEDED | LATER).values())}\n")
    beside = asked.index("clinic programs >")
    assert first < beside < asked.index("-m pytest")
    assert "&" in asked[beside : asked.index("-m pytest")].splitlines()[0]
