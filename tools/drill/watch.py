"""What Prometheus, Alertmanager and the local receiver say of the alerts of a drill, and when they said it first."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from tools.base.prometheus import Prometheus, PrometheusError
from tools.drill.system import System

WATCHDOG = "Watchdog"
SILENT_SECONDS = 15.0  # several beats of a drill
POLL_SECONDS = 0.5
_SECONDS = 5.0

T = TypeVar("T")


@dataclass
class Progress:
    """How far an alert has come: seconds since the fault began, or since it ended; None: not yet.

    The Watchdog's notifications stop and come back instead: `notified` is when their absence was noticed, `cleared`
    when one came again.
    """

    alert: str
    not_notified: str = ""
    """Why no notification is waited for; empty: one is."""
    early: bool = False
    """It fired before the fault began, so that what was seen proves nothing."""
    pending: float | None = None
    firing: float | None = None
    notified: float | None = None
    resolved: float | None = None
    """Since the fault ended, as the next."""
    cleared: float | None = None
    """The notification that it is over."""

    @property
    def seen(self) -> bool:
        """Whether all has come that a fault should bring."""
        return self.firing is not None and (bool(self.not_notified) or self.notified is not None)

    @property
    def over(self) -> bool:
        """Whether all has come that its end should bring."""
        return self.resolved is not None and (bool(self.not_notified) or self.cleared is not None)


class Watch:
    """Watches some alerts from the begin of a fault to its consequences' end.

    Args:
        stack: what runs.
        alerts: by name, why no notification is waited for (empty: one is).
    """

    def __init__(self, stack: System, alerts: Mapping[str, str]) -> None:
        self._stack = stack
        self._client = httpx.Client(timeout=_SECONDS, trust_env=False)
        self._prometheus = Prometheus(stack.url("prometheus"), _SECONDS)
        self._heard = 0
        self._heard = max((one["number"] for one in self._told()["notifications"]), default=0)
        self._began = time.time()
        self._ended: float | None = None
        before = self._states()
        self.progress = {name: Progress(name, why, before.get(name) == "firing") for name, why in alerts.items()}
        if WATCHDOG in self.progress:
            self.progress[WATCHDOG].early = False  # it always is

    def close(self) -> None:
        """No more."""
        self._client.close()
        self._prometheus.close()

    def end(self) -> None:
        """The fault is over."""
        self._ended = time.time()

    @property
    def began(self) -> float:
        """When the fault did, in Unix seconds."""
        return self._began

    @property
    def seen(self) -> bool:
        """Whether every alert has come as far as a fault can bring it."""
        return all(one.seen for one in self.progress.values())

    @property
    def over(self) -> bool:
        """Whether every alert is gone again."""
        return all(one.over for one in self.progress.values())

    def poll(self) -> None:
        """Look once. What does not answer now has nothing to say."""
        states = self._ask(self._states) or {}
        told = self._ask(self._told)
        for one in self.progress.values():
            if one.alert != WATCHDOG:
                self._note(one, states.get(one.alert))
            elif told:
                self._heartbeat(one, told["heartbeat"])
        for notification in told["notifications"] if told else ():
            self._heard = max(self._heard, notification["number"])
            self._hear(notification["notification"])

    def _states(self) -> dict[str, str]:
        return active(self._prometheus)

    def _note(self, one: Progress, state: str | None) -> None:
        if self._ended is None:
            if state and one.pending is None:
                one.pending = self._since_begin()
            if state == "firing" and one.firing is None:
                one.firing = self._since_begin()
        elif state is None and one.firing is not None and one.resolved is None:
            one.resolved = time.time() - self._ended

    def _hear(self, notification: Mapping[str, Any]) -> None:
        one = self.progress.get(notification["groupLabels"].get("alertname", ""))
        if one is None:
            return
        firing = notification["status"] == "firing"
        if self._ended is None and firing and one.notified is None:
            one.notified = self._since_begin()
        # One that looks at an event, and not at a state, may be over before its fault is.
        over = 0.0 if self._ended is None else time.time() - self._ended
        one.cleared = None if firing else over

    def _heartbeat(self, one: Progress, beat: float | None) -> None:
        one.pending, one.firing = 0.0, 0.0
        if self._ended is None:
            if one.notified is None and time.time() - max(beat or 0.0, self._began) > SILENT_SECONDS:
                one.notified = self._since_begin()
        elif beat and beat > self._ended and one.cleared is None:
            one.resolved = one.cleared = beat - self._ended

    def _told(self) -> dict[str, Any]:
        """What the local receiver heard since the last look, and when it heard the heartbeat."""
        url = f"{self._stack.url('simulator')}/notifications"
        answer = self._client.get(url, params={"after": self._heard}).raise_for_status()
        return dict(answer.json())

    def _since_begin(self) -> float:
        return time.time() - self._began

    def _ask(self, question: Callable[[], T]) -> T | None:
        try:
            return question()
        except (httpx.HTTPError, PrometheusError):
            return None


def active(prometheus: Prometheus) -> dict[str, str]:
    """Of each alert that is active, `firing` or `pending`. Raises PrometheusError."""
    return worst((one["labels"]["alertname"], one["state"]) for one in prometheus.alerts())


def worst(states: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The state of each name: firing if one of its alerts is."""
    found: dict[str, str] = {}
    for name, state in states:
        if found.get(name) != "firing":
            found[name] = state
    return found
