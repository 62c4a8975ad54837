"""Running drills: calm, the faults of a round, what the alerts do, everything put back."""

import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from tools.base.errors import ToolError
from tools.base.prometheus import Prometheus
from tools.drill import restore
from tools.drill.faults import Fault, repeat, together
from tools.drill.scene import Scene
from tools.drill.system import System
from tools.drill.traffic import Rates, Traffic
from tools.drill.watch import POLL_SECONDS, WATCHDOG, Progress, Watch, active
from tools.show import trace
from tools.stack.components import switched_on
from tools.stack.stack import DRAIN_SECONDS
from tools.why.answer import explain
from tools.why.compare import Comparison, Window

USUAL: Rates = {"known": 2.0}
CALM_SECONDS = 240.0
FAULT_SECONDS = 240.0
CLEAR_SECONDS = 180.0
BEFORE_SECONDS = 45.0  # are compared with the fault


class Screen(Protocol):
    """Is shown what happens."""

    def phase(self, text: str) -> None:
        """What is being done now."""

    def show(self, progress: Mapping[str, Progress]) -> None:
        """How far the alerts are."""


@dataclass(frozen=True)
class Result:
    """What became of an alert in a drill."""

    fault: Fault
    progress: Progress
    why: str = ""
    """What `make why` said of it first."""

    @property
    def good(self) -> bool:
        """Whether all that was expected was seen."""
        return self.progress.seen and self.progress.over and not self.progress.early and self.named

    @property
    def named(self) -> bool:
        """Whether that names what the fault broke."""
        return re.search(self.fault.cause, self.why) is not None


@contextmanager
def drilling(stack: System) -> Iterator[Scene]:
    """The stack with shortened rules; everything is as before when this ends, however it does.

    Raises:
        ToolError: a part of the stack does not run, another drill does, or somebody real would be notified.
    """
    if receivers := switched_on(stack.receivers):
        raise ToolError(
            f"{', '.join(receivers)} would be told: what a drill leaves in the history can fire alerts for days. Take "
            "the files away from secrets/, then: make restart S=prometheus"
        )
    stack.make_folder()
    with restore.alone(stack):
        if restore.read(stack) is not None:
            restore.undo(stack)
        if missing := [name for name in stack.names if stack.state(name) != "running"]:
            raise ToolError(f"not running: {', '.join(missing)}. Start them first: {stack.how_to_start}")
        scene = Scene(stack, restore.Left(list(stack.names)))
        try:
            scene.configure()
            yield scene
        finally:
            with _undisturbed():
                scene.close()
                restore.undo(stack)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Nobody's second Ctrl-C leaves half of it undone."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def play(scene: Scene, faults: tuple[Fault, ...], alerts: frozenset[str], screen: Screen) -> list[Result]:
    """Let these faults happen at once, watch these of their alerts, undo the faults."""
    watched = {name: fault for fault in faults for name in fault.alerts if name in alerts}
    screen.phase("waiting until the alerts are silent")
    with _traffic(scene, USUAL):
        _wait(lambda: _silent(scene, watched), CALM_SECONDS)
    screen.phase("preparing")
    prepared = time.time()
    for fault in faults:
        fault.prepare(scene)
    if scene.settings:
        time.sleep(DRAIN_SECONDS)  # what is restarted shall have been scraped
        scene.start_changed()
    scene.begin()
    if scene.prometheus or scene.alertmanager:
        scene.configure()
    watch = Watch(scene.stack, {name: fault.not_notified for name, fault in watched.items()})
    try:
        screen.phase("; ".join(fault.what for fault in faults))
        with _traffic(scene, together(faults)):
            for fault in faults:
                fault.begin(scene)
            _follow(watch, screen, lambda: watch.seen, FAULT_SECONDS, lambda: repeat(faults, scene))
            said = _why(scene, watched, Window(prepared - BEFORE_SECONDS, prepared), Window(watch.began, time.time()))
        screen.phase("undoing it")
        scene.end()
        watch.end()
        screen.phase("it is over: waiting until that is told")
        with _traffic(scene, USUAL):
            _follow(watch, screen, lambda: watch.over, CLEAR_SECONDS)
        return [Result(fault, watch.progress[name], said[name]) for name, fault in watched.items()]
    finally:
        watch.close()


def _why(scene: Scene, alerts: Iterable[str], before: Window, during: Window) -> dict[str, str]:
    """What `make why` says of each alert first."""
    stack = scene.stack
    stores = (stack.url(stack.store) + trace.STORES[stack.store],)
    with Prometheus(stack.url("prometheus")) as prometheus:
        signals = {one["name"]: one["labels"]["signal"] for one in prometheus.rules() if one["type"] == "alerting"}
        signals |= {one["labels"]["alertname"]: one["labels"]["signal"] for one in prometheus.alerts()}
        now = Comparison(prometheus, before, during)
        return {name: explain(now, signals[name], stores, widely=False).first for name in alerts}


def _traffic(scene: Scene, rates: Rates) -> Traffic:
    secret = scene.stack.service_environment()["WEBHOOK_SECRET"]
    return Traffic(scene.stack.url("service"), secret, rates)


def _silent(scene: Scene, alerts: Mapping[str, Fault]) -> bool:
    with Prometheus(scene.stack.url("prometheus")) as prometheus:
        found = active(prometheus)
    return found.keys().isdisjoint(alerts.keys() - {WATCHDOG})


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    """Until it is true, or the time is over: what is not calm then shows in the result."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(POLL_SECONDS)


def _follow(
    watch: Watch, screen: Screen, done: Callable[[], bool], seconds: float, again: Callable[[], None] = lambda: None
) -> None:
    end = time.monotonic() + seconds
    next_time = 0.0
    while not done() and time.monotonic() < end:
        if time.monotonic() >= next_time:
            next_time = time.monotonic() + 1
            again()
        watch.poll()
        screen.show(watch.progress)
        time.sleep(POLL_SECONDS)
