"""What a restart of the Collector costs: nothing if it is planned, and else what Prometheus had not scraped yet.

That is what came within the last flush and the scrape after it: 10 s with what is shipped; for a counter's new series,
which shows 0 at its first flush, 15 s. What was scraped stays, and the reset is seen, with one
exception: a series that returns at once, and is above its old value by its first scrape. Prometheus, which has just
noted that it was gone, takes no 0 from before that; of the old and the new value the greater counts. So that, too, is
at most what came within a flush and a scrape.

Here both intervals are a second, as the waiting at a planned stop is a fifth: it is their ratio that matters.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.prometheus.monitored import Monitored, increments
from tools.base.wait import until
from tools.model.expected import Seen
from tools.stack.ports import Ports
from tools.stack.processes import Component
from tools.stack.stack import DRAIN_SECONDS, Stack

SHIPPED_SECONDS, SECONDS = 5, 1
BOTH = ("otel-collector", "prometheus")

FAQ = Seen("lane.classify", {"lane": "faq"}, 1_953_125)
ERROR = Seen("error.handled", {"error.type": "timeout", "component": "cache"}, 1_953_125)
UNCERTAIN = 7
COUNTS = ('lane_classification_total{lane="faq"}', 'classification_duration_seconds_count{lane="faq"}')


class Quick(Stack):
    """Flushes and scrapes every second."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Ports.free(), {"otel-collector": {"DERIVE_INTERVAL": f"{SECONDS}s"}})

    def _component(self, name: str, *arguments: Any, **more: Any) -> Component:
        part = super()._component(name, *arguments, **more)
        return replace(part, prepare=lambda: self._hurry(part)) if name == "prometheus" else part

    def _hurry(self, part: Component) -> None:
        part.prepare()
        file = self.folder / "prometheus" / "prometheus.yml"
        file.write_text(file.read_text("utf-8").replace(f": {SHIPPED_SECONDS}s", f": {SECONDS}s"), "utf-8")


@pytest.fixture
def monitored(tmp_path: Path) -> Iterator[Monitored]:
    """A quick pair, once for each test."""
    stack = Quick(tmp_path)
    with httpx.Client(timeout=10, trust_env=False) as client:
        try:
            stack.up(only=BOTH)
            yield Monitored(stack, client)
        finally:
            stack.remove()


def totals(monitored: Monitored) -> list[float]:
    """What was counted over all restarts, by the counter and by the histogram."""
    return [increments(values) for count in COUNTS for values in monitored.history(count).values()]


def test_a_restart_loses_at_most_what_was_not_scraped_yet_and_makes_no_series(monitored: Monitored) -> None:
    monitored.count([FAQ] * 300)
    series, certain, uncertain = monitored.samples().keys(), 300, 0
    for how, more in {"kill": 40, "stop": 20}.items():  # SIGTERM alone waits for no scrape either
        restart_with_some_in_flight(monitored, how)
        monitored.count([FAQ] * more)
        certain, uncertain = certain + more, uncertain + UNCERTAIN
        for total in totals(monitored):
            assert certain <= total <= certain + uncertain
        assert monitored.samples().keys() == series


def test_a_collector_that_was_away_for_a_scrape_loses_nothing_that_was_scraped(monitored: Monitored) -> None:
    monitored.count([FAQ] * 40)
    monitored.stack.kill("otel-collector")
    until(lambda: monitored.samples() == {}, "Prometheus has seen that it is away", every=0.2)
    monitored.stack.start("otel-collector")
    monitored.count([FAQ] * 300)
    assert totals(monitored) == [40 + 300] * len(COUNTS)


def test_a_series_that_is_above_its_old_value_at_once_hides_the_reset_and_nothing_else(monitored: Monitored) -> None:
    monitored.count([FAQ] * 40)
    restart_with_some_in_flight(monitored, "kill")
    monitored.count([FAQ] * 300)
    for total in totals(monitored):
        assert 300 <= total <= 40 + UNCERTAIN + 300


def restart_with_some_in_flight(monitored: Monitored, how: str) -> None:
    """End the Collector right after it has taken some more spans, and start it again."""
    monitored.send([FAQ] * UNCERTAIN)
    end = monitored.stack.kill if how == "kill" else monitored.stack.stop
    end("otel-collector")
    monitored.stack.start("otel-collector")


def test_a_planned_stop_loses_nothing_not_even_the_first_event_of_a_series(monitored: Monitored) -> None:
    monitored.stack.start("simulator")  # some sender, so that there is one to be stopped first
    monitored.count([FAQ] * 40)
    monitored.send([FAQ] * UNCERTAIN + [ERROR])
    monitored.stack.down(drain_seconds=DRAIN_SECONDS * SECONDS / SHIPPED_SECONDS)
    monitored.stack.up(only=BOTH)
    monitored.count([FAQ] * 300)
    assert totals(monitored) == [40 + UNCERTAIN + 300] * len(COUNTS)
    assert [increments(values) for values in monitored.history("errors_total").values()] == [1]
