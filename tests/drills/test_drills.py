"""Real faults in a real stack: each alert fires, is notified, clears, and then everything is as it was before."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from tests.drills.conftest import choose, fetch, make, run, state
from tools.base.errors import ToolError
from tools.base.wait import until
from tools.drill import restore
from tools.drill.faults import ROUNDS, Fault
from tools.drill.report import LiveScreen, print_results
from tools.drill.run import CALM_SECONDS, Result, drilling, play
from tools.drill.scene import Scene
from tools.stack.ports import Ports
from tools.stack.stack import Stack

NAMED = {fault.name: fault for faults in ROUNDS for fault in faults}

# Faults of one test do not disturb each other, and are played at once: a test is as long as its slowest alert.
TOGETHER = [
    ("slower-database", "hard-questions", "evolution-away", "bad-target", "bad-rule", "bad-configuration"),
    ("unknown-numbers", "unknown-event"),
    ("collector-hung",),
    ("cache-hung", "worker-away"),
]


def the_drill_of(*names: str) -> tuple[Fault, ...]:
    return tuple(NAMED[name] for name in names)


@pytest.fixture
def scene(stack: Stack) -> Iterator[Scene]:
    """A drill goes on; after it everything is as it was."""
    before = state(stack)
    with drilling(stack) as made:
        yield made
    assert state(stack) == before


@pytest.mark.parametrize("names", TOGETHER, ids="+".join)
def test_every_alert_of_a_fault_is_notified_and_clears_and_then_all_is_as_before(
    scene: Scene, names: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    faults = the_drill_of(*names)
    alerts = frozenset(alert for fault in faults for alert in fault.alerts)
    with capsys.disabled():  # the seconds are what a reader of the build wants to know
        console = Console(highlight=False, width=140)
        with LiveScreen(console, scene.stack.ports) as screen:
            results = play(scene, faults, alerts, screen)
        print_results(console, results)
    assert {result.progress.alert for result in results} == alerts
    assert [result.progress for result in results if not result.good] == []
    for result in results:
        in_order(result)


def in_order(result: Result) -> None:
    one = result.progress
    assert one.pending is not None
    assert one.firing is not None
    assert one.notified is not None
    assert one.resolved is not None
    assert one.cleared is not None
    assert one.pending <= one.firing <= one.notified


BEGUN_SECONDS = CALM_SECONDS + 60
"""After the drills before it, a drill waits for calm; then its fault begins."""


@contextmanager
def command(stack: Stack, alert: str) -> Iterator[subprocess.Popen[str]]:
    """`make drill` in this stack; left in the middle of it, it puts everything back."""
    process = run(f"sys.argv[1:] = ['drill', {alert!r}]; cli.main()", stack)
    try:
        yield process
    finally:
        process.terminate()
        print(process.communicate()[0])


def stands_still(stack: Stack, name: str) -> bool:
    pid = stack.pid(name)
    return pid is not None and psutil.Process(pid).status() == psutil.STATUS_STOPPED


def test_a_drill_that_is_told_to_end_puts_everything_back_before_it_ends(stack: Stack) -> None:
    before = state(stack)
    slowed = "select count(*) from pg_trigger where not tgisinternal"
    with command(stack, "SlowDatabaseQueries") as drill:
        until(lambda: fetch(stack, slowed) == 3, "the database is slow", seconds=BEGUN_SECONDS, every=0.5)
        drill.send_signal(signal.SIGTERM)
        output, _ = drill.communicate(timeout=60)
    assert drill.returncode == 130
    assert "everything was put back" in output
    assert state(stack) == before


def test_what_a_killed_drill_has_left_is_undone_by_make_up_and_by_nobody_while_it_runs(stack: Stack) -> None:
    before = state(stack)
    with command(stack, "OtelCollectorQueueNearlyFull") as drill:
        until(lambda: stands_still(stack, "jaeger"), "the trace store stands still", seconds=BEGUN_SECONDS, every=0.5)
        with pytest.raises(ToolError, match=r"^a drill is running"):
            restore.undo_left(stack, print)
        with pytest.raises(ToolError, match=r"^a drill is running"), drilling(stack):
            pass
        drill.kill()
        drill.wait()
    assert stands_still(stack, "jaeger")
    assert make("up", stack).startswith("a drill was killed: putting back what it changed\nEverything is running")
    assert state(stack) == before
    assert make("up", stack).startswith("Everything is running")


def test_make_down_undoes_first_what_a_killed_drill_has_left(tmp_path: Path) -> None:
    small = Stack(tmp_path, Ports.free(), store="jaeger")
    choose(small)
    try:
        small.up(only=["redis"])
        restore.write(small, restore.Left(["redis"]))
        small.pause("redis")
        assert make("down", small).startswith("a drill was killed: putting back what it changed\n")
        assert "ready to exit" in small.log("redis").read_text()  # it was asked to, and could
        assert not restore.folder(small).exists()
    finally:
        small.stop("redis")
        small.remove()


def test_jobs_that_were_given_up_because_of_a_drill_are_tried_again(stack: Stack) -> None:
    with drilling(stack) as scene:
        scene.begin()
        stack.execute(
            "insert into jobs (kind, state, instance, message_id, patient, payload, traceparent, created_at) values"
            " ('memory', 'dead', 'drill', 'before', '5500900000001', '{\"text\": \"x\"}', '', now() - interval '1 d'),"
            " ('memory', 'dead', 'drill', 'during', '5500900000001', '{\"text\": \"x\"}', '', now())",
        )
    states = (
        "select string_agg(message_id || ' ' || state, ', ' order by message_id) from jobs where instance = 'drill'"
    )
    until(lambda: fetch(stack, states) == "before dead, during done", "the worker has done it")
    stack.execute("delete from jobs where instance = 'drill'")
