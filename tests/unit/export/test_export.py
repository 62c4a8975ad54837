"""The way out of the process: nothing lost or doubled while the Collector is away, and what is lost is counted."""

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from app.observability import wire
from app.observability.export import Spool
from app.observability.lost_spans import LostSpans
from app.observability.tracer import Provider, Tracer
from tests.support.made_spans import BOTH, PATIENCE_MS, arrived, make, make_one_batch, to
from tools.base.otlp_sink import Sink
from tools.base.wait import until


@BOTH
@pytest.mark.parametrize("how", ["refuse", "hang", "away"])
def test_every_span_of_an_outage_arrives_once_afterwards(
    collector: Sink, spool: Spool, tracer: Tracer, lost: LostSpans, how: str, request: pytest.FixtureRequest
) -> None:
    make(tracer, 100)
    until(lambda: arrived(collector) == 100, "the spans before the outage")
    impatient: pytest.MonkeyPatch = request.getfixturevalue("impatient")
    if how == "away":
        collector.close()
    else:
        collector.answer("hang" if how == "hang" else "refuse")
    asked = collector.asked
    make(tracer, 5000)
    until(lambda: spool.taken == 5100, "all spans are buffered")
    if how != "away":
        until(lambda: collector.asked >= asked + 2, "several attempts were made")
    impatient.undo()
    if how == "away":
        collector.open()
    else:
        collector.answer("take")
    until(lambda: arrived(collector) == 5100, "the spans of the outage")
    assert sum(lost.by_reason().values()) == 0


@BOTH
def test_a_collector_that_takes_but_never_answers_puts_one_batch_in_doubt_not_one_a_try(
    collector: Sink, spool: Spool, tracer: Tracer, impatient: pytest.MonkeyPatch
) -> None:
    collector.answer("swallow")
    make_one_batch(tracer, ["lane.classify"] * 64)
    until(lambda: collector.asked >= 4, "one batch and some probes")
    assert sum(bool(request.resource_spans) for request in collector.requests) == 1
    impatient.undo()
    collector.answer("take")
    assert spool.force_flush(PATIENCE_MS)
    assert sum(bool(request.resource_spans) for request in collector.requests) == 2  # the one in doubt


@BOTH
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


@BOTH
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
    assert spool.force_flush(PATIENCE_MS)
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
    assert spool.force_flush(PATIENCE_MS)
    assert arrived(collector) == 40
    assert lost.by_reason()["refused"] == 1


def test_a_clock_that_was_set_back_during_a_span_costs_nothing(collector: Sink, spool: Spool, tracer: Tracer) -> None:
    tracer.start_span("lane.classify", start_time=10**18).end(10**18 - 10**9)
    assert spool.force_flush(PATIENCE_MS)
    assert arrived(collector) == 1


@BOTH
@pytest.mark.parametrize(
    ("spans", "bad", "most_requests"),
    [(64, 0, 1), (64, 1, 13), (64, 3, 33), (64, 64, 65), (2048, 1, 23), (2048, 3, 65)],
)
def test_spans_for_which_the_collector_refuses_a_batch_cost_themselves_only(
    collector: Sink, spool: Spool, tracer: Tracer, lost: LostSpans, spans: int, bad: int, most_requests: int
) -> None:
    collector.poison = lambda span: span.name == "poison"
    make_one_batch(tracer, ["lane.classify"] * (spans - bad) + ["poison"] * bad)
    assert spool.force_flush(PATIENCE_MS)
    assert arrived(collector) == spans - bad
    assert lost.by_reason()["refused"] == bad
    assert collector.asked <= most_requests


def test_what_no_part_would_change_is_asked_once(
    collector: Sink, spool: Spool, tracer: Tracer, lost: LostSpans, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(spool._channel, "_metadata", (("not ascii", "\u00e9"),))  # gRPC raises for each call
        make_one_batch(tracer, ["lane.classify"] * 64)
        assert spool.force_flush(PATIENCE_MS)
    assert lost.by_reason()["refused"] == 64
    make(tracer, 1)
    assert spool.force_flush(PATIENCE_MS)
    assert arrived(collector) == 1


def rejecting(spans: int) -> bytes:
    partial = ExportTracePartialSuccess(rejected_spans=spans)
    return bytes(ExportTraceServiceResponse(partial_success=partial).SerializeToString())


@BOTH
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
    assert spool.force_flush(PATIENCE_MS)
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
        assert spool.force_flush(PATIENCE_MS)
    assert lost.by_reason()["refused"] == 3
    make(tracer, 1)
    assert spool.force_flush(PATIENCE_MS)
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
        spool = Spool(to(collector), provider=provider, lost=lost)
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
        assert spool.force_flush(PATIENCE_MS)
    make(tracer, 1)
    assert spool.force_flush(PATIENCE_MS)
    assert arrived(collector) == 1
    assert lost.by_reason()["refused"] == 3
