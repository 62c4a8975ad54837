"""The played day: each incident is named, and where nothing was wrong no cause is invented."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tools.base.errors import ToolError
from tools.base.files import Sources
from tools.base.prometheus import Prometheus
from tools.history import recorded
from tools.history.day import Day
from tools.model.alerts import alerts
from tools.why import incident
from tools.why.answer import NOTHING, Answer, explain
from tools.why.compare import Comparison, Window

HALF_AN_HOUR = 1800
ALERTS = {one.name: one for one in alerts(Sources.of_disk())}


@dataclass(frozen=True)
class Played:
    """The day in a Prometheus."""

    prometheus: Prometheus
    script: dict[str, Any]
    start: int

    def at(self, clock: str) -> int:
        """A time of the day, in Unix seconds."""
        hour, minute = map(int, clock.split(":"))
        return self.start + hour * 3600 + minute * 60

    def half_hour(self, start: int) -> Answer:
        """Compared with the one before."""
        windows = Window(start - HALF_AN_HOUR, start), Window(start, start + HALF_AN_HOUR)
        return explain(Comparison(self.prometheus, *windows), "", ())

    def quiet(self, start: int) -> bool:
        """Whether nothing was wrong in this half hour, nor in the one before."""
        return not any(
            begin < start + HALF_AN_HOUR and end > start - HALF_AN_HOUR
            for begin, end in map(self._when, self.incidents)
        )

    @property
    def incidents(self) -> list[dict[str, Any]]:
        """As the script has them."""
        found: list[dict[str, Any]] = self.script["incidents"]
        return found

    def _when(self, one: dict[str, Any]) -> tuple[int, int]:
        begin = self.at(one["from"])
        if "until" in one:
            return begin, self.at(one["until"])
        return begin, begin + one.get("minutes", 0) * 60 + one.get("seconds", 0)


@pytest.fixture(scope="module")
def played() -> Iterator[Played]:
    sources = Sources.of_disk()
    day = Day(sources)
    _, blocks = recorded.blocks(sources)
    with recorded.serving(blocks) as prometheus:
        yield Played(prometheus, day.script, day.start)


def test_no_cause_is_invented_for_a_quiet_half_hour(played: Played) -> None:
    quiet = [start for start in range(played.start, played.at("23:31"), HALF_AN_HOUR) if played.quiet(start)]
    assert len(quiet) == 21
    found = {str(dt.timedelta(seconds=start - played.start)): played.half_hour(start) for start in quiet}
    assert {clock: answer.first for clock, answer in found.items()} == dict.fromkeys(found, NOTHING)
    assert {clock: answer.findings for clock, answer in found.items()} == dict.fromkeys(found, ())


@pytest.mark.parametrize(
    ("half_hour", "names"),
    [
        ("02:00", "P95 of webhook requests (lane `complex`, `faq`, `price`) went from 200 ms to 7.4 s: "),
        (
            "10:30",
            "P95 of webhook requests (every lane) went from 330 ms to 22 s: 100% of the added time is in PostgreSQL",
        ),
        ("11:30", "Evolution delivers messages again: "),
        ("13:00", f"{NOTHING}, but the Collector began anew"),
        ("14:00", "Redis fails: errors of component `cache`, type `connection`, went from 0/s to "),
        ("16:00", "mem0 fails: "),
        ("17:00", "Evolution does not send: "),
        ("17:30", "Evolution delivers what nobody here understands: "),
        ("18:15", f"{NOTHING}, but the service began anew"),
        ("20:00", "Strangers, or an Evolution with another secret, send "),
    ],
)
def test_without_an_alert_the_worst_that_happened_is_named(played: Played, half_hour: str, names: str) -> None:
    assert played.half_hour(played.at(half_hour)).first.startswith(names)


@pytest.mark.parametrize(
    ("alert", "names"),
    {
        "CriticalWebhookLatency": "P95 of webhook requests (every lane) went from 290 ms to 24 s: 100% of the added"
        " time is in PostgreSQL (`select`, `insert`, `update`) (by the series; no trace of it is stored)",
        "SlowDatabaseQueries": "P95 of database queries (every operation) went from 9.9 ms to 4.9 s: 100% of the added "
        "time is in PostgreSQL (",
        "SlowIdempotencyCheck": "P95 of `idempotency.check` went from 11 ms to 49 ms: no series tells where",
        "CriticalCacheHitRate": "Redis fails, so the cache's hit rate went from 93% to 40%",
        "CriticalErrorRate": "Redis fails: errors of component `cache`, type `connection`, went from 0/s to 1.2/s",
        "Mem0WriteFailures": "mem0 fails: 57% of the attempts to write a memory do, most with `unavailable`",
        "HighDuplicateMessageRate": "Evolution delivers messages again: 0.82/s instead of 0.23/s were handled before",
        "LowThroughput": "Evolution delivers hardly anything: 0.0088/s requests instead of 0.0095/s,",
        "ReplyGivenUp": "Evolution does not send: ",
        "DeliveriesKept": "Evolution delivers what nobody here understands: 126 kept (ignored)",
        "WebhookMostlyRejected": "Strangers, or an Evolution with another secret, send 0.65/s requests",
        "ErrorBudgetBurn1h": "P95 of webhook requests (every lane) went from 270 ms to 9 s: ",
    }.items(),
)
def test_an_alert_of_the_day_is_explained_by_its_incident(played: Played, alert: str, names: str) -> None:
    asked = incident.of_alert(played.prometheus, ALERTS[alert], played.at("24:00"))
    answer = explain(Comparison(played.prometheus, asked.before, asked.during), asked.signal, ())
    assert answer.first.startswith(names)


def test_an_alert_that_was_silent_for_a_day_is_told_so_with_the_other_way_to_ask(played: Played) -> None:
    with pytest.raises(ToolError, match=r"HighThroughput was not active in the last 24 hours; .*make why SINCE=30m"):
        incident.of_alert(played.prometheus, ALERTS["HighThroughput"], played.at("24:00"))
