"""Spans: starting telemetry, opening spans, marking what went wrong on them.

Usage:
    init_tracing(service_name="healthcare-backend")        # once, before the app is built

    with trace_span("process_message", {"message_id": id}):
        add_span_event("hydration_started")
"""

import logging
import os
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from urllib.parse import urlsplit

from opentelemetry import metrics as metrics_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.propagate import set_global_textmap
from opentelemetry.propagators.textmap import (
    CarrierT,
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.util.re import parse_env_headers
from opentelemetry.util.types import AttributeValue

from app.environment import SettingError
from app.observability.contract import contract
from app.observability.export import CHANNEL, CleanConsoleExporter, CountingBatchProcessor, LostSpans, Spool
from app.observability.levels import create_instruments

log = logging.getLogger(__name__)

SCOPE = "app.observability"
VERSION = "0.1.0"
METRIC_INTERVAL_MS = 5000

_LIMITS = SpanLimits(  # each given: one that is not is read from the environment
    max_attributes=128,
    max_span_attributes=128,
    max_event_attributes=128,
    max_link_attributes=128,
    max_events=128,
    max_links=128,
    max_attribute_length=SpanLimits.UNSET,  # the allow-list bounds values
    max_span_attribute_length=SpanLimits.UNSET,
)

tracer = trace.get_tracer(SCOPE)  # a proxy until init_tracing() ran, so importing costs nothing and orders nothing


@dataclass
class Telemetry:
    """What init_tracing() built: to be flushed and closed by who called it."""

    tracer_provider: TracerProvider
    meter_provider: MeterProvider
    spool: Spool
    lost: LostSpans
    _closed: threading.Event = field(default_factory=threading.Event)

    def flush(self, seconds: float = 10.0) -> bool:
        """Send all finished spans; False when they were not taken within `seconds`."""
        self.tracer_provider.force_flush()
        return self.spool.force_flush(int(seconds * 1000))

    def shutdown(self) -> None:
        """Flush and close, within about 4 seconds for spans and 2 for metrics; blocking, call it off the event loop."""
        if self._closed.is_set():
            return
        self._closed.set()
        self.tracer_provider.shutdown()
        self.meter_provider.shutdown(timeout_millis=2000)  # after the spans, so that the spans lost now are in it


_started: Telemetry | None = None


def init_tracing(service_name: str = "healthcare-backend", enable_console: bool = False) -> Telemetry:
    """Start telemetry for this process: spans and metrics over OTLP/gRPC. A second call returns what the first built.

    Reads `OTEL_EXPORTER_OTLP_ENDPOINT` (default `http://127.0.0.1:4317`; `https://` for TLS),
    `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_CONSOLE_EXPORTER` (`true` prints the spans, as `enable_console` does).
    Sampler, limits and resource are set here: the environment could otherwise halve counts or cut label values off.

    Raises:
        SettingError: the endpoint is no http(s) URL, or holds credentials, which the SDK would log.
    """
    global _started  # OpenTelemetry's providers are set once per process, too
    if _started is not None:
        return _started
    if service_name not in contract().service_names:
        log.warning("the Collector drops telemetry of this service name: it is not in otel-collector/metrics.yaml")
    endpoint, secure = _endpoint(os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or "http://127.0.0.1:4317")
    headers = parse_env_headers(os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", ""), liberal=True)
    resource = Resource(
        {"service.name": service_name, "service.version": VERSION, "service.instance.id": str(uuid.uuid4())}
    )
    set_global_textmap(NoInboundContext())

    lost = LostSpans()
    spool = Spool(endpoint, secure=secure, headers=headers, lost=lost)
    tracer_provider = TracerProvider(
        sampler=ALWAYS_ON,
        resource=resource,
        span_limits=_LIMITS,
        shutdown_on_exit=False,  # uvicorn ends by re-raising the signal: atexit never runs, the lifespan flushes
        meter_provider=metrics_api.NoOpMeterProvider(),
    )
    tracer_provider.add_span_processor(CountingBatchProcessor(spool, lost))
    if enable_console or os.environ.get("OTEL_CONSOLE_EXPORTER", "false").lower() == "true":
        tracer_provider.add_span_processor(SimpleSpanProcessor(CleanConsoleExporter()))
    trace.set_tracer_provider(tracer_provider)

    exporter = OTLPMetricExporter(
        endpoint=endpoint,
        insecure=not secure,
        headers=dict(headers) or None,
        timeout=2,
        channel_options=CHANNEL,  # type: ignore[arg-type]  # numbers are right
    )
    meter_provider = MeterProvider(
        resource=resource,
        metric_readers=[PeriodicExportingMetricReader(exporter, export_interval_millis=METRIC_INTERVAL_MS)],
        exemplar_filter=AlwaysOffExemplarFilter(),
        shutdown_on_exit=False,
    )
    metrics_api.set_meter_provider(meter_provider)
    create_instruments(meter_provider, lost)
    _started = Telemetry(tracer_provider, meter_provider, spool, lost)
    return _started


def _endpoint(url: str) -> tuple[str, bool]:
    """`host:port` and whether to use TLS."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingError("OTEL_EXPORTER_OTLP_ENDPOINT must be a URL such as http://otel-collector:4317")
    if parts.username or parts.password:
        raise SettingError("OTEL_EXPORTER_OTLP_ENDPOINT must hold no credentials: use OTEL_EXPORTER_OTLP_HEADERS")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{parts.port or 4317}", parts.scheme == "https"


class NoInboundContext(TextMapPropagator):
    """Takes no trace context from callers: the webhook is public, strangers don't choose our trace ids.

    An empty composite propagator, or OTEL_PROPAGATORS=none, would do the same and turn each request into a 500:
    extract() must never return None (opentelemetry-python's CompositePropagator passes on the None it was given).
    """

    def extract(
        self,
        carrier: CarrierT,  # noqa: ARG002
        context: Context | None = None,
        getter: Getter[CarrierT] = default_getter,  # noqa: ARG002
    ) -> Context:
        """The context that was given, or an empty one."""
        return Context() if context is None else context

    def inject(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        setter: Setter[CarrierT] = default_setter,
    ) -> None:
        """Nothing goes out to other companies' APIs."""

    @property
    def fields(self) -> set[str]:
        """No header."""
        return set()


class trace_span:  # noqa: N801 - used like a function, and documented so
    """A span around a block, in sync and async code (`with` and `async with` do the same).

    A block that is left by an exception, cancellation included, gives the span the status ERROR and an event with the
    exception's type; never its message, which could hold a patient's data.

    Args:
        name: a constant in lower case, dotted, for instance `lane.classify`; other shapes are shown as `other`.
        attributes: those of the contract's allow-list leave the process, others are dropped.
        kind: CLIENT for a call to another system.
        context: the parent, where it is not the current span.
    """

    __slots__ = ("_attributes", "_context", "_kind", "_manager", "_name", "_span")

    def __init__(
        self,
        name: str,
        attributes: Mapping[str, AttributeValue] | None = None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        context: Context | None = None,
    ) -> None:
        self._name = name
        self._attributes = attributes
        self._kind = kind
        self._context = context

    def __enter__(self) -> Span:
        self._span = tracer.start_span(
            self._name,
            context=self._context,
            kind=self._kind,
            attributes=self._attributes,
            record_exception=False,
            set_status_on_exception=False,
        )
        self._manager = trace.use_span(self._span, record_exception=False, set_status_on_exception=False)
        self._manager.__enter__()
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._span.set_status(Status(StatusCode.ERROR))
            self._span.add_event("exception", {"exception.type": type(error).__qualname__})
        try:
            self._manager.__exit__(kind, error, traceback)
        finally:
            self._span.end()

    async def __aenter__(self) -> Span:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


def add_span_event(name: str) -> None:
    """Add an event to the current span, for instance `hydration_started`; a name of the same shape as a span's."""
    trace.get_current_span().add_event(name)


def span_of(
    name: str, attributes: Mapping[str, AttributeValue], duration_seconds: float, *, failed: bool = False
) -> None:
    """A span for something that already happened: it ends now and began `duration_seconds` ago.

    Raises:
        ValueError: the duration is negative, not finite or no number.
    """
    if isinstance(duration_seconds, bool) or not isinstance(duration_seconds, int | float):
        raise ValueError("duration_seconds must be a number of seconds")
    if not 0 <= duration_seconds < float("inf"):
        raise ValueError("duration_seconds must be finite and not negative")
    end = time.time_ns()
    span = tracer.start_span(name, attributes=attributes, start_time=end - round(duration_seconds * 1e9))
    if failed:
        span.set_status(Status(StatusCode.ERROR))
    span.end(end)


_ERROR_TYPES = {  # class names along the exception's ancestry, so that no client library is imported for it
    "TimeoutError": "timeout",
    "TimeoutException": "timeout",  # httpx
    "APITimeoutError": "timeout",  # openai, in mem0
    "QueryCanceledError": "timeout",  # asyncpg, on a server-side time-out
    "ConnectionError": "connection",  # Python's, redis's
    "APIConnectionError": "connection",
    "PostgresConnectionError": "connection",
    "CannotConnectNowError": "connection",
    "OperatorInterventionError": "connection",  # the server is shutting down
    "InterfaceError": "connection",  # asyncpg: the connection is closed
    "OperationalError": "connection",  # psycopg
    "InsufficientResourcesError": "unavailable",  # asyncpg: too many connections
    "TransportError": "connection",  # httpx
    "OSError": "connection",
    "IntegrityConstraintViolationError": "constraint",
    "IntegrityError": "constraint",
    "DataError": "invalid",
    "ValueError": "invalid",
}


def error_type(error: BaseException) -> str:
    """The value of the label `error_type` for an exception: one of the contract's closed set."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return "unavailable" if status >= 500 or status in (408, 429) else "refused"
    names = (cls.__name__ for cls in type(error).__mro__)
    return next((_ERROR_TYPES[name] for name in names if name in _ERROR_TYPES), "internal")


def mark_error(span: Span, component: str, error: BaseException) -> None:
    """Count a handled error once, on the span where it is handled: feeds `errors_total` {error_type, component}."""
    span.set_status(Status(StatusCode.ERROR))
    span.set_attributes({"component": component, "error.type": error_type(error)})
