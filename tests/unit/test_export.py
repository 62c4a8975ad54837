"""The way out of the process: nothing lost or doubled while the Collector is away, and what is lost is counted."""

import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from app.observability import export, wire
from app.observability import tracer as tracers
from app.observability.export import Spool
from app.observability.lost_spans import LostSpans
from app.observability.spans import Span
from app.observability.tracer import Provider, Tracer
from tools.base.otlp_sink import Sink
from tools.base.wait import until


@pytest.fixture
def collector() -> Iterator[Sink]:
    """What stands for the Collector here, because it must hang and answer what no healthy one would."""
    with Sink().listening() as sink:
        yield sink
        sink.answer("take")


@pytest.fixture
def lost() -> LostSpans:
    return LostSpans()


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def tracer(provider: Provider) -> Tracer:
    return provider.get_tracer("app.observability")


@pytest.fixture
def spool(collector: Sink, provider: Provider, lost: LostSpans, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spool]:
    monkeypatch.setattr(export, "_SEND_SECONDS", 0.3)
    monkeypatch.setattr(export, "_PROBE_SECONDS", 0.3)
    spool = Spool(collector.endpoint, provider=provider, lost=lost)
    yield spool
    collector.answer("take")
    spool.shutdown()


def make(tracer: Tracer, count: int) -> None:
    for _ in range(count):
        tracer.start_span("lane.classify").end()


def make_one_batch(tracer: Tracer, names: list[str]) -> None:
    """Let them end at once, as far as the sender can tell."""
    queue = tracer.queue.spans
    tracer.queue.spans = deque()
    for name in names:
        tracer.start_span(name).end()
    queue.extend(tracer.queue.spans)
    tracer.queue.spans = queue


def arrived(collector: Sink) -> int:
    """Spans taken; fails if one came twice."""
    ids = Counter(span.span_id for span in collector.spans())
    assert max(ids.values(), default=1) == 1, "a span was delivered twice"
    return len(ids)


@pytest.mark.parametrize("how", ["refuse", "hang", "away"])
def test_every_span_of_an_outage_arrives_once_afterwards(
    collector: Sink, spool: Spool, tracer: Tracer, lost: LostSpans, how: str
) -> None:
    make(tracer, 100)
    until(lambda: arrived(collector) == 100, "the spans before the outage")
    if how == "away":
        collector.close()
    else:
        collector.answer("hang" if how == "hang" else "refuse")
    asked = collector.asked
    make(tracer, 5000)
    until(lambda: spool.taken == 5100, "all spans are buffered")
    if how != "away":
        until(lambda: collector.asked >= asked + 2, "several attempts were made")
    if how == "away":
        collector.open()
    else:
        collector.answer("take")
    until(lambda: arrived(collector) == 5100, "the spans of the outage")
    assert sum(lost.by_reason().values()) == 0


def test_a_collector_that_takes_but_never_answers_puts_one_batch_in_doubt_not_one_a_try(
    collector: Sink, spool: Spool, tracer: Tracer
) -> None:
    collector.answer("swallow")
    make_one_batch(tracer, ["lane.classify"] * 64)
    until(lambda: collector.asked >= 4, "one batch and some probes")
    assert sum(bool(request.resource_spans) for request in collector.requests) == 1
    collector.answer("take")
    assert spool.force_flush(10_000)
    assert sum(bool(request.resource_spans) for request in collector.requests) == 2  # the one in doubt


@pytest.mark.usefixtures("spool")
def test_a_rejected_batch_is_counted_and_takes_no_other_with_it(
    collector: Sink, tracer: Tracer, lost: LostSpans
) -> None:
    collector.answer("reject")
    make(tracer, 64)
    until(lambda: lost.by_reason()["refused"] == 64, "the rejected batch is counted")
    collector.answer("take")
    make(tracer, 64)
    until(lambda: arrived(collector) == 64, "the next batch")


def test_beyond_the_buffer_the_loss_is_counted_to_the_span(
    collector: Sink, spool: Spool, tracer: Tracer, lost: LostSpans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "_limit", 10_000)
    collector.answer("refuse")
    for _ in range(30):
        make_one_batch(tracer, ["lane.classify"] * 10)
        spool._collect()
    until(lambda: spool.taken == 300, "all spans are taken")
    gone = lost.by_reason()["buffer_full"]
    assert 0 < gone < 300
    collector.answer("take")
    until(lambda: arrived(collector) == 300 - gone, "the buffered spans")


def test_at_the_end_what_cannot_be_delivered_is_counted(
    collector: Sink, spool: Spool, tracer: Tracer, lost: LostSpans
) -> None:
    collector.answer("refuse")
    make(tracer, 640)
    until(lambda: spool.taken == 640, "all spans are taken")
    spool.shutdown(timeout_millis=300)
    assert lost.by_reason()["shutdown"] == 640
    make(tracer, 64)
    assert lost.by_reason()["shutdown"] == 704, "spans after the end are counted, too"


@pytest.mark.parametrize(
    "times",
    [
        (-1, None),
        (2**64, None),
        (1.5, None),
        (0, None),  # seconds, or nothing, where nanoseconds were meant
        (None, -1),
        (None, 2**64),
        (None, 2**62),
    ],
    ids=str,
)
def test_a_span_of_nonsense_times_costs_itself_only(
    collector: Sink, spool: Spool, tracer: Tracer, lost: LostSpans, times: tuple[Any, Any]
) -> None:
    make(tracer, 20)
    start, end = times
    tracer.start_span("lane.classify", start_time=start).end(end)
    make(tracer, 20)
    assert spool.force_flush(10_000)
    assert arrived(collector) == 40
    assert lost.by_reason()["refused"] == 1


@pytest.mark.parametrize(
    "nonsense",
    [
        lambda span: span.add_event("step", timestamp=-1),
        lambda span: span.update_name(["not", "hashable"]),
        lambda span: setattr(span, "kind", "SERVER"),
        lambda span: [span.record_exception(ValueError(), {"exception.type": "A" * 10**4}) for _ in range(128)],
    ],
)
def test_a_span_that_cannot_be_encoded_costs_itself_only(
    collector: Sink, spool: Spool, tracer: Tracer, lost: LostSpans, nonsense: Callable[[Any], object]
) -> None:
    make(tracer, 20)
    span = tracer.start_span("lane.classify")
    nonsense(span)
    span.end()
    make(tracer, 20)
    assert spool.force_flush(10_000)
    assert arrived(collector) == 40
    assert lost.by_reason()["refused"] == 1


def test_a_clock_that_was_set_back_during_a_span_costs_nothing(collector: Sink, spool: Spool, tracer: Tracer) -> None:
    tracer.start_span("lane.classify", start_time=10**18).end(10**18 - 10**9)
    assert spool.force_flush(10_000)
    assert arrived(collector) == 1


@pytest.mark.parametrize(
    ("spans", "bad", "most_requests"),
    [(64, 0, 1), (64, 1, 13), (64, 3, 33), (64, 64, 65), (2048, 1, 23), (2048, 3, 65)],
)
def test_spans_for_which_the_collector_refuses_a_batch_cost_themselves_only(
    collector: Sink, spool: Spool, tracer: Tracer, lost: LostSpans, spans: int, bad: int, most_requests: int
) -> None:
    collector.poison = lambda span: span.name == "poison"
    make_one_batch(tracer, ["lane.classify"] * (spans - bad) + ["poison"] * bad)
    assert spool.force_flush(30_000)
    assert arrived(collector) == spans - bad
    assert lost.by_reason()["refused"] == bad
    assert collector.asked <= most_requests


def test_what_no_part_would_change_is_asked_once(
    collector: Sink, spool: Spool, tracer: Tracer, lost: LostSpans
) -> None:
    spool._metadata = (("not ascii", "\u00e9"),)  # gRPC raises for each call
    make_one_batch(tracer, ["lane.classify"] * 64)
    assert spool.force_flush(10_000)
    assert lost.by_reason()["refused"] == 64
    spool._metadata = ()
    make(tracer, 1)
    assert spool.force_flush(10_000)
    assert arrived(collector) == 1


def rejecting(spans: int) -> bytes:
    partial = ExportTracePartialSuccess(rejected_spans=spans)
    return bytes(ExportTraceServiceResponse(partial_success=partial).SerializeToString())


@pytest.mark.parametrize(
    ("response", "refused"),
    [
        (b"\xff\xff", 0),
        (rejecting(2), 2),
        (rejecting(-5), 0),
        (rejecting(10**12), 3),
    ],
)
def test_an_answer_counts_for_what_it_can_mean(
    collector: Sink, spool: Spool, tracer: Tracer, lost: LostSpans, response: bytes, refused: int
) -> None:
    collector.response = response
    make(tracer, 3)
    assert spool.force_flush(10_000)
    assert arrived(collector) == 3
    assert lost.by_reason()["refused"] == refused


@pytest.mark.parametrize("error", [MemoryError, RuntimeError, SystemExit, KeyboardInterrupt, KeyError])
@pytest.mark.parametrize("where", ["_send", "_deliver"])
def test_nothing_ends_the_sender(
    collector: Sink,
    spool: Spool,
    tracer: Tracer,
    lost: LostSpans,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
    where: str,
) -> None:
    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(spool, where, fail)
        make(tracer, 3)
        assert spool.force_flush(10_000)
    assert lost.by_reason()["refused"] == 3
    make(tracer, 1)
    assert spool.force_flush(10_000)
    assert arrived(collector) == 1


def test_a_dead_sender_is_replaced_and_costs_what_it_had_in_hand(
    collector: Sink,
    provider: Provider,
    tracer: Tracer,
    lost: LostSpans,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(Spool, "_send_all", lambda _: None)
        spool = Spool(collector.endpoint, provider=provider, lost=lost)
        assert spool._thread is not None
        spool._thread.join(10)
        make(tracer, 3)
        spool._collect()
    make(tracer, 1)
    assert spool.waiting_seconds == 0  # whoever asks for the spool's health brings a sender back
    until(lambda: arrived(collector) == 1, "the span that nobody had in hand")
    assert lost.by_reason()["refused"] == 3
    spool.shutdown()


def test_a_batch_that_cannot_be_made_costs_itself_only(
    collector: Sink, spool: Spool, tracer: Tracer, lost: LostSpans, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr(wire, "request", fail)
        make(tracer, 3)
        assert spool.force_flush(10_000)
    make(tracer, 1)
    assert spool.force_flush(10_000)
    assert arrived(collector) == 1
    assert lost.by_reason()["refused"] == 3


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
    assert spool.force_flush(30_000)
    assert arrived(collector) == tracers.QUEUE_SPANS


@pytest.mark.parametrize("how", ["hang", "refuse"])
def test_while_the_collector_is_away_spans_are_taken_all_the_same(
    collector: Sink, spool: Spool, tracer: Tracer, how: Literal["hang", "refuse"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_SEND_SECONDS", 60)
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
    monkeypatch.setattr(export, "_TICK_SECONDS", 0)
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
    monkeypatch.setattr(export, "_TICK_SECONDS", 3600)
    make(tracer, 1)
    assert spool.force_flush(3000)  # the turn that is going on was a short one
    make(tracer, 1)
    assert spool.force_flush(10_000)
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
    assert spool.force_flush(30_000)
    assert arrived(collector) == 2000
    assert sum(lost.by_reason().values()) == 0
