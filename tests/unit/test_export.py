"""The way out of the process: nothing lost or doubled while the Collector is away, and what is lost is counted."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Tracer

from app.observability import export
from app.observability.export import CountingBatchProcessor, LostSpans, Spool
from tools.otlp_sink import Sink
from tools.waiting import until


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


HOSTILE_ENVIRONMENT = {
    "OTEL_TRACES_SAMPLER": "traceidratio",
    "OTEL_TRACES_SAMPLER_ARG": "0.01",
    "OTEL_PROPAGATORS": "none",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "1",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "2",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "2",
    "OTEL_SPAN_EVENT_COUNT_LIMIT": "0",
    "OTEL_RESOURCE_ATTRIBUTES": "host.name=maria,service.instance.id=same,service.name=x",
    "OTEL_SERVICE_NAME": "y",
}


def test_variables_of_the_environment_change_neither_counts_nor_labels_nor_identity(collector: Sink) -> None:
    program = """
from app.observability import add_span_event, init_tracing, observe_request_latency, trace_span
telemetry = init_tracing()
for _ in range(100):
    observe_request_latency(endpoint="/webhooks/evolution", lane="faq", status="success", duration_seconds=0.1)
with trace_span("a.step"):
    add_span_event("hydration_started")
telemetry.shutdown()
"""
    environment = HOSTILE_ENVIRONMENT | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector.endpoint}",
        "PYTHONPATH": "service",
    }
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=60)
    spans = collector.spans()
    labels = {tuple(sorted((item.key, item.value.string_value) for item in span.attributes)) for span in spans[:-1]}
    assert len(spans) == 101
    assert labels == {(("endpoint", "/webhooks/evolution"), ("lane", "faq"), ("status", "success"))}
    assert [event.name for event in spans[-1].events] == ["hydration_started"]
    (resource,) = {
        tuple((item.key, item.value.string_value) for item in part.resource.attributes)
        for request in collector.requests
        for part in request.resource_spans
    }
    identity = dict(resource)
    assert sorted(identity) == ["service.instance.id", "service.name", "service.version"]
    assert identity["service.name"] == "healthcare-backend"
    assert identity["service.instance.id"] != "same"


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [("http://user:pass@host:4317", "no credentials"), ("host:4317", "must be a URL"), ("ftp://host", "must be a URL")],
)
def test_a_wrong_endpoint_is_refused_at_the_start(endpoint: str, says: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", "from app.observability import init_tracing; init_tracing()"],
        env={"PYTHONPATH": "service", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 1
    assert says in run.stderr
    assert "pass@" not in run.stderr


def test_the_console_shows_what_leaves_and_nothing_else(collector: Sink) -> None:
    program = """
from app.observability import init_tracing, trace_span
telemetry = init_tracing()
with trace_span("lane.classify", {"lane": "faq", "patient": "maria"}) as span:
    span.record_exception(ValueError("+5511999990000"))
telemetry.shutdown()
"""
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector.endpoint}",
        "PYTHONPATH": "service",
        "OTEL_CONSOLE_EXPORTER": "true",
    }
    run = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, timeout=60, capture_output=True, text=True
    )
    assert '"lane": "faq"' in run.stdout
    assert "ValueError" in run.stdout
    assert not any(secret in run.stdout for secret in ("maria", "+5511999990000", "Traceback"))
