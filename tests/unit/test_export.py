"""The way out of the process: nothing lost or doubled while the Collector is away, and what is lost is counted."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import SpanContext, Tracer

from app.observability import export
from app.observability.export import Spool
from app.observability.lost_spans import LostSpans
from app.observability.processors import CountingBatchProcessor
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
def spool(collector: Sink, lost: LostSpans, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spool]:
    monkeypatch.setattr(export, "_SEND_SECONDS", 0.3)
    monkeypatch.setattr(export, "_PROBE_SECONDS", 0.3)
    spool = Spool(collector.endpoint, lost=lost)
    yield spool
    collector.answer("take")
    spool.shutdown()


@pytest.fixture
def tracer(spool: Spool, lost: LostSpans) -> Tracer:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(CountingBatchProcessor(spool, lost))
    return provider.get_tracer("app.observability")


def make(tracer: Tracer, count: int) -> None:
    for _ in range(count):
        tracer.start_span("lane.classify").end()


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
    until(lambda: spool.taken == 5100, "all spans are encoded and buffered")
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
    make(tracer, 64)
    until(lambda: collector.asked >= 4, "one batch and some probes")
    assert sum(bool(request.resource_spans) for request in collector.requests) == 1
    collector.answer("take")
    assert spool.force_flush(10_000)
    assert sum(bool(request.resource_spans) for request in collector.requests) == 2  # the one in doubt


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
    make(tracer, 3000)
    until(lambda: spool.taken == 3000, "all spans are handed over")
    gone = lost.by_reason()["buffer_full"]
    assert 0 < gone < 3000
    collector.answer("take")
    until(lambda: arrived(collector) == 3000 - gone, "the buffered spans")


def test_at_the_end_what_cannot_be_delivered_is_counted(
    collector: Sink, spool: Spool, tracer: Tracer, lost: LostSpans
) -> None:
    collector.answer("refuse")
    make(tracer, 640)
    until(lambda: spool.taken == 640, "all spans are handed over")
    spool.shutdown(timeout_millis=300)
    assert lost.by_reason()["shutdown"] == 640
    make(tracer, 64)
    until(lambda: lost.by_reason()["shutdown"] == 704, "spans after the end are counted, too")


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
    until(lambda: spool.taken == 41, "all spans are handed over")
    assert spool.force_flush(10_000)
    assert arrived(collector) == 40
    assert lost.by_reason()["refused"] == 1


@pytest.mark.parametrize(
    "nonsense",
    [
        lambda span: span.add_event("step", timestamp=-1),
        lambda span: setattr(span, "_name", ["not", "hashable"]),
        lambda span: setattr(span, "_context", SpanContext(2**130, 2**70, is_remote=False)),
        lambda span: setattr(span, "_kind", "SERVER"),
        lambda span: setattr(span, "_status", None),
        lambda span: setattr(span, "_parent", "abc"),
        lambda span: setattr(span, "_resource", "no resource"),
    ],
)
def test_a_span_that_cannot_be_encoded_costs_itself_only(
    collector: Sink, spool: Spool, tracer: Tracer, lost: LostSpans, nonsense: Callable[[object], None]
) -> None:
    make(tracer, 20)
    span = tracer.start_span("lane.classify")
    nonsense(span)
    span.end()
    make(tracer, 20)
    until(lambda: spool.taken == 41, "all spans are handed over")
    assert spool.force_flush(10_000)
    assert arrived(collector) == 40
    assert lost.by_reason()["refused"] == 1


def test_a_clock_that_was_set_back_during_a_span_costs_nothing(collector: Sink, spool: Spool, tracer: Tracer) -> None:
    tracer.start_span("lane.classify", start_time=10**18).end(10**18 - 10**9)
    until(lambda: spool.taken == 1, "the span is handed over")
    assert spool.force_flush(10_000)
    assert arrived(collector) == 1


@pytest.mark.parametrize(("bad", "most_requests"), [(0, 1), (1, 13), (3, 33), (64, 33)])
def test_spans_for_which_the_collector_refuses_a_batch_cost_themselves_only(
    collector: Sink, spool: Spool, lost: LostSpans, bad: int, most_requests: int
) -> None:
    collector.poison = lambda span: span.name == "poison"
    provider = TracerProvider(shutdown_on_exit=False)
    names = ["lane.classify"] * 64
    names[64 - bad :] = ["poison"] * bad
    spool.export([ended(provider, name) for name in names])
    assert spool.force_flush(10_000)
    assert arrived(collector) == 64 - bad
    assert lost.by_reason()["refused"] == bad
    assert collector.asked <= most_requests


def test_what_no_part_would_change_is_asked_once(collector: Sink, spool: Spool, lost: LostSpans) -> None:
    spool._metadata = (("not ascii", "\u00e9"),)  # gRPC raises for each call
    provider = TracerProvider(shutdown_on_exit=False)
    spool.export([ended(provider, "lane.classify") for _ in range(64)])
    assert spool.force_flush(10_000)
    assert lost.by_reason()["refused"] == 64
    spool._metadata = ()
    spool.export([ended(provider, "lane.classify")])
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
    collector: Sink, spool: Spool, lost: LostSpans, response: bytes, refused: int
) -> None:
    collector.response = response
    provider = TracerProvider(shutdown_on_exit=False)
    spool.export([ended(provider, "lane.classify") for _ in range(3)])
    assert spool.force_flush(10_000)
    assert arrived(collector) == 3
    assert lost.by_reason()["refused"] == refused


@pytest.mark.parametrize("error", [MemoryError, RuntimeError, SystemExit, KeyboardInterrupt, KeyError])
@pytest.mark.parametrize("where", ["_send", "_deliver"])
def test_nothing_ends_the_sender(
    collector: Sink,
    spool: Spool,
    lost: LostSpans,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
    where: str,
) -> None:
    def fail(*_: object) -> None:
        raise error

    provider = TracerProvider(shutdown_on_exit=False)
    with monkeypatch.context() as broken:
        broken.setattr(spool, where, fail)
        spool.export([ended(provider, "lane.classify") for _ in range(3)])
        assert spool.force_flush(10_000)
    assert lost.by_reason()["refused"] == 3
    spool.export([ended(provider, "lane.classify")])
    assert spool.force_flush(10_000)
    assert arrived(collector) == 1


def test_a_dead_sender_is_replaced_and_costs_what_it_had_in_hand(
    collector: Sink, spool: Spool, lost: LostSpans, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    with monkeypatch.context() as broken:
        broken.setattr(spool, "_send_all", lambda: None)
        spool.export([ended(provider, "lane.classify") for _ in range(3)])
        assert spool._thread is not None
        spool._thread.join(10)
    spool.export([ended(provider, "lane.classify")])
    assert spool.force_flush(10_000)
    assert arrived(collector) == 1
    assert lost.by_reason()["refused"] == 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_encoder_is_replaced_and_costs_what_it_had_in_hand(
    collector: Sink, spool: Spool, lost: LostSpans, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise SystemExit

    provider = TracerProvider(shutdown_on_exit=False)
    processor = CountingBatchProcessor(spool, lost)
    with monkeypatch.context() as broken:
        broken.setattr(spool, "export", die)
        processor.on_end(ended(provider, "lane.classify"))
        until(lambda: not processor._batch_processor._worker_thread.is_alive(), "the thread is dead")
    processor.on_end(ended(provider, "lane.classify"))
    assert processor.force_flush(10_000)
    assert spool.force_flush(10_000)
    assert arrived(collector) == 1
    assert lost.by_reason()["refused"] == 1


def ended(provider: TracerProvider, name: str) -> ReadableSpan:
    span = provider.get_tracer("app.observability").start_span(name)
    span.end()
    assert isinstance(span, ReadableSpan)
    return span
