"""Telemetry of this process, once: providers are global by OpenTelemetry's design."""

import os
from collections.abc import Iterator

import pytest

from app.observability.telemetry import Telemetry, init_tracing
from tools.base.otlp_sink import Sink


@pytest.fixture(scope="session")
def sink() -> Iterator[Sink]:
    """Where this process's spans go."""
    with Sink().listening() as sink:
        yield sink


@pytest.fixture(scope="session")
def telemetry(sink: Sink) -> Iterator[Telemetry]:
    """Telemetry that exports to the sink."""
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://{sink.endpoint}"
    telemetry = init_tracing()
    yield telemetry
    telemetry.shutdown()
