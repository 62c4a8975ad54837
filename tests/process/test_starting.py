"""Telemetry of a process that starts: nothing of its environment changes what leaves, or one line says why not."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from app import __version__
from tools.base.otlp_sink import Sink

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


@pytest.fixture
def collector() -> Iterator[Sink]:
    """Takes the spans."""
    with Sink().listening() as sink:
        yield sink


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
    assert identity["service.version"] == __version__
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
