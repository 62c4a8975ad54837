"""Several Collectors count as one: each span is counted once, by the Collector that took it.

A stop costs nothing if the Collector is drained first: nobody sends to it any more, and its last counts are scraped.
A kill costs what came within its last flush and the scrape after it, 10 s of its share with what is shipped.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest

from tests.collector.bench import own
from tests.prometheus.monitored import increments
from tests.support import fleet
from tests.support.fleet import Fleet
from tools.base.otlp import traces
from tools.base.wait import until
from tools.model.expected import Seen

FAQ = Seen("lane.classify", {"lane": "faq"})
BATCH = 20
COUNTS = ('lane_classification_total{lane="faq"}', 'classification_duration_seconds_count{lane="faq"}')


@dataclass
class Sender:
    """Sends batches to each Collector in turn; what one does not take goes to the next. Some may be out of rotation."""

    to: Fleet
    taken: Counter[int] = field(default_factory=Counter)
    """Spans by the Collector that took them."""
    out: set[int] = field(default_factory=set)
    _turn: int = 0

    def batch(self) -> None:
        """One export."""
        self._turn += 1
        size = len(self.to.collectors)
        order = [(self._turn + step) % size for step in range(size)]
        self.taken[self.to.send(traces(own([FAQ] * BATCH)), *(one for one in order if one not in self.out))] += BATCH

    @contextmanager
    def sending(self) -> Iterator[None]:
        """All the time within, from a thread of its own."""
        ended, failed = threading.Event(), list[BaseException]()

        def run() -> None:
            try:
                while not ended.wait(0.02):
                    self.batch()
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        if failed:
            raise failed[0]

    def all_counted(self, *numbers: int, lost: int = 0) -> None:
        """Wait until Prometheus has every span that these Collectors, by default all, took; but for so many."""
        wanted = sum(self.taken[number] for number in numbers) if numbers else self.taken.total()
        names = {self.to.instance(number) for number in numbers or range(len(self.to.collectors))}
        until(lambda: set(counted(self.to, names)) == {wanted - lost}, "all is counted", every=0.2)


def counted(by: Fleet, instances: set[str]) -> list[float]:
    """What Prometheus has of these Collectors, resets included: by the counter, by the histogram."""
    return [
        sum(
            increments(values)
            for (_, labels), values in by.history(count).items()
            if dict(labels)["instance"] in instances
        )
        for count in COUNTS
    ]


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Fleet]:
    """Two Collectors, one Prometheus."""
    with fleet.running(tmp_path, 2) as running:
        yield running


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Fleet]:
    """Three Collectors, one Prometheus."""
    with fleet.running(tmp_path, 3) as running:
        yield running


def is_seen_away(by: Fleet, number: int) -> None:
    """Wait until Prometheus has tried to reach it in vain: from then on a new start is a new start."""
    expression = f'up{{instance="{by.instance(number)}"}} == 0'
    until(lambda: by.query(expression), "Prometheus has seen that it is away", every=0.2)


def test_a_collector_that_is_drained_and_stopped_costs_nothing_and_the_other_takes_over(two: Fleet) -> None:
    sender = Sender(two)
    with sender.sending():
        until(lambda: sender.taken[0] >= 20 * BATCH, "the first has taken some")
        sender.out.add(0)
        sender.all_counted(0)
        two.collectors[0].stop(SIGTERM)
        seen = sender.taken[1]
        until(lambda: sender.taken[1] >= seen + 20 * BATCH, "the other goes on")
    sender.all_counted()
    assert counted(two, {two.instance(0), two.instance(1)}) == [sender.taken.total()] * len(COUNTS)


def test_a_killed_collector_costs_at_most_what_was_not_scraped_yet_and_nothing_is_counted_twice(two: Fleet) -> None:
    sender = Sender(two)
    for _ in range(40):
        sender.batch()
    sender.all_counted()
    certain = sender.taken[0]
    two.send(traces(own([FAQ] * 7)), 0)  # in flight
    two.collectors[0].stop(SIGKILL)
    for _ in range(40):  # senders go on, with whoever is there
        sender.batch()
    assert sender.taken[0] == certain
    sender.all_counted(1)
    is_seen_away(two, 0)
    two.collectors[0].start()
    for _ in range(10):
        sender.batch()
    until(lambda: sender.taken[0] <= counted(two, {two.instance(0)})[0], "it counts again", every=0.2)
    sender.all_counted(1)
    for total in counted(two, {two.instance(0)}):
        assert sender.taken[0] <= total <= sender.taken[0] + 7


def test_three_collectors_are_restarted_one_after_the_other_under_load_and_every_span_is_counted_once(
    three: Fleet,
) -> None:
    sender = Sender(three)
    with sender.sending():
        for number, one in enumerate(three.collectors):
            seen = sender.taken[number]
            until(lambda n=number, s=seen: sender.taken[n] >= s + 10 * BATCH, "it has taken some")  # type: ignore[misc]
            sender.out.add(number)
            sender.all_counted(number)
            one.stop(SIGTERM)
            is_seen_away(three, number)
            one.start()
            three.all_are_scraped()
            sender.out.discard(number)
            until(lambda n=number, s=sender.taken[number]: sender.taken[n] >= s + 10 * BATCH, "it takes again")  # type: ignore[misc]
    sender.all_counted()
    assert counted(three, {three.instance(number) for number in range(3)}) == [sender.taken.total()] * len(COUNTS)
    assert all(sender.taken[number] >= 20 * BATCH for number in range(3))
