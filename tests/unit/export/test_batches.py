"""Batches: when one goes out, what it may hold, and that nothing waits for it."""

import sys
import threading
from collections import deque
from typing import Literal

import pytest

from app.observability import export
from app.observability import tracer as tracers
from app.observability.export import Spool
from app.observability.lost_spans import LostSpans
from app.observability.spans import Span
from app.observability.tracer import Provider, Tracer
from tests.support.made_spans import PATIENCE_MS, arrived, make, make_one_batch
from tools.base.otlp_sink import Sink
from tools.base.wait import until


def test_a_burst_beyond_the_queue_is_counted_to_the_span(
    collector: Sink, spool: Spool, tracer: Tracer, lost: LostSpans
) -> None:
    with spool._changed:  # the sender can't take meanwhile
        until(lambda: not tracer.queue.spans, "an empty queue")
        queue, tracer.queue.spans = tracer.queue.spans, deque()
        make(tracer, tracers.QUEUE_SPANS + 5)
        queue.extend(tracer.queue.spans)
        tracer.queue.spans = queue
    assert lost.by_reason()["queue_full"] == 5
    assert spool.force_flush(PATIENCE_MS)
    assert arrived(collector) == tracers.QUEUE_SPANS


@pytest.mark.parametrize("how", ["hang", "refuse"])
def test_while_the_collector_is_away_spans_are_taken_all_the_same(
    collector: Sink, spool: Spool, tracer: Tracer, how: Literal["hang", "refuse"]
) -> None:
    collector.answer(how)
    for taken in range(1, 4):
        make(tracer, 1)
        until(lambda taken=taken: spool.taken == taken, "taken")  # type: ignore[misc]
    assert spool.waiting_seconds > 0


def test_spans_are_taken_while_the_batches_of_an_outage_go_out(
    collector: Sink, spool: Spool, tracer: Tracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector.answer("refuse")
    make_one_batch(tracer, ["lane.classify"])
    until(lambda: collector.asked, "the sender has the first in hand")
    for _ in range(3):
        make_one_batch(tracer, ["lane.classify"])
        spool._collect()
    until(lambda: spool.taken == 4, "all are buffered")
    monkeypatch.setattr(export, "TICK_SECONDS", 0)
    taken: list[int] = []

    def deliver(_: object) -> list[object]:
        make(tracer, len(taken) == 0)
        taken.append(spool.taken)
        return []

    monkeypatch.setattr(spool, "_deliver", deliver)
    collector.answer("take")
    until(lambda: len(taken) == 4, "the rest and the new one went out")
    assert taken == [4, 5, 5, 5]


def test_a_flush_does_not_wait_for_the_next_turn(
    collector: Sink, spool: Spool, tracer: Tracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "TICK_SECONDS", 3600)
    make(tracer, 1)
    assert spool.force_flush(PATIENCE_MS)  # the turn that is going on was a short one
    make(tracer, 1)
    assert spool.force_flush(PATIENCE_MS)
    assert arrived(collector) == 2


def test_batches_are_bounded_in_spans_and_in_bytes(provider: Provider, tracer: Tracer, lost: LostSpans) -> None:
    provider.start(lost)
    make(tracer, tracers.BATCH_SPANS + 1)
    assert [sum(len(spans) for _, spans in provider.take()) for _ in range(3)] == [tracers.BATCH_SPANS, 1, 0]
    for _ in range(40):
        span = tracer.start_span("lane.classify")
        assert isinstance(span, Span)
        span.record_exception(ValueError(), {"exception.type": "A" * 100_000})
        span.end()
    sizes = []
    while taken := provider.take():
        sizes.append(sum(map(len, taken[0][1])))
    assert len(sizes) == 4
    assert max(sizes) < 2 * 1024 * 1024


def test_a_span_ended_by_several_threads_at_once_leaves_once(
    collector: Sink, spool: Spool, tracer: Tracer, lost: LostSpans
) -> None:
    spans = [tracer.start_span("lane.classify") for _ in range(2000)]
    start = threading.Barrier(4)

    def end_all() -> None:
        start.wait()
        for span in spans:
            span.end()

    threads = [threading.Thread(target=end_all) for _ in range(4)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert spool.force_flush(PATIENCE_MS)
    assert arrived(collector) == 2000
    assert sum(lost.by_reason().values()) == 0
