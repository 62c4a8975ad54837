"""What is measured beside our telemetry: none at all, prometheus_client in the process, OpenTelemetry's own SDK.

Each takes the place of ours at the same marks in the same code, before the rest of the service is imported.
"""

import os
import time
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind

Open = Callable[..., Any]
"""In the place of `trace_span`: a context manager."""


class _Block:
    """What `trace_span` is, with nothing in it."""

    def __init__(
        self,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        context: Context | None = None,
    ) -> None:
        self._name, self._attributes, self._kind, self._context = name, attributes, kind, context

    def __enter__(self) -> Span:
        return trace.INVALID_SPAN

    def __exit__(self, *_: object) -> None:
        pass

    async def __aenter__(self) -> Span:
        return self.__enter__()

    async def __aexit__(self, *error: object) -> None:
        self.__exit__(*error)


def prometheus_client() -> Open:
    """Each block is an observation and a count, with its name and whether it failed as labels."""
    from prometheus_client import Counter, Histogram

    seconds = Histogram("block_duration_seconds", "How long blocks took", ["name"])
    blocks = Counter("blocks_total", "How many there were", ["name", "status"])

    class Timed(_Block):
        def __enter__(self) -> Span:
            self._start = time.perf_counter()
            return trace.INVALID_SPAN

        def __exit__(self, *error: object) -> None:
            seconds.labels(self._name).observe(time.perf_counter() - self._start)
            blocks.labels(self._name, "error" if error[0] else "success").inc()

    return Timed


def sdk() -> Open:
    """The SDK's tracer, its batch processor and its OTLP exporter, as its documentation puts them together."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource({"service.name": "healthcare-backend"}))
    exporter = OTLPSpanExporter(endpoint=os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"], insecure=True)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=100_000))
    trace.set_tracer_provider(provider)
    tracer = provider.get_tracer("app.observability")

    class Traced(_Block):
        def __enter__(self) -> Span:
            self._open = tracer.start_as_current_span(self._name, self._context, self._kind, self._attributes)
            return self._open.__enter__()

        def __exit__(self, *error: Any) -> None:
            self._open.__exit__(*error)

    return Traced


def none() -> Open:
    """Nothing is called but an empty block."""
    return _Block


MAKE: dict[str, Callable[[], Open]] = {"none": none, "prometheus_client": prometheus_client, "OpenTelemetry SDK": sdk}
NAMES = (*MAKE, "ours")


def take_our_place(name: str) -> None:
    """Put one of MAKE where ours is; the service must not have been imported yet, but for its observability."""
    from app import observability
    from app.observability import instrumentation, server_spans, tracing

    block = MAKE[name]()
    telemetry = SimpleNamespace(
        spool=SimpleNamespace(waiting_seconds=0.0), lost=SimpleNamespace(by_reason=dict), shutdown=_nothing
    )
    for module in (observability, tracing):
        module.trace_span = block  # type: ignore[attr-defined]
        module.add_span_event = _nothing if name != "OpenTelemetry SDK" else tracing.add_span_event  # type: ignore[attr-defined]
    observability.init_tracing = lambda: telemetry  # type: ignore[assignment,misc]
    observability.observe_mem0_queue_size = _nothing
    if name != "OpenTelemetry SDK":
        tracing.mark_error = _nothing
        for module, wrapper in (
            (server_spans, "instrument_app"),
            (instrumentation, "instrument_database"),
            (instrumentation, "instrument_cache"),
        ):
            setattr(module, wrapper, _nothing)


def _nothing(*_: object, **__: object) -> None:
    pass
