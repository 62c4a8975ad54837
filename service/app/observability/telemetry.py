"""Starting and ending telemetry: what a process sends, where to, and how it goes on after a fork."""

import contextlib
import logging
import multiprocessing.util
import os
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
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
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.util.re import parse_env_headers

from app import __version__
from app.environment import SettingError
from app.observability import console, tracing, wire
from app.observability.channel import OPTIONS, Channel, Grpc, Http
from app.observability.contract import contract
from app.observability.export import Spool
from app.observability.levels import QUEUE_SIZE, create_instruments
from app.observability.lost_spans import LostSpans
from app.observability.tracer import Provider

log = logging.getLogger(__name__)

METRIC_INTERVAL_MS = 5000
_METRIC_SECONDS = 2
_GRPC_PORT, _HTTP_PORT = 4317, 4318


class _MetricExporter(OTLPMetricExporter):
    """The stock exporter, and a lock that is free while it is idle: gRPC can't be forked within a call."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.idle = threading.RLock()

    def export(self, *arguments: Any, **more: Any) -> MetricExportResult:
        with self.idle:
            return super().export(*arguments, **more)


class _HttpMetricExporter(MetricExporter):
    """Over HTTP: the official encoder, and the way that spans take. The next export says what a lost one said."""

    def __init__(self, channel: Http) -> None:
        super().__init__()
        self._channel = channel
        self.idle = threading.RLock()

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any) -> MetricExportResult:
        """Once, within _METRIC_SECONDS."""
        body = encode_metrics(metrics_data).SerializeToString()
        try:
            with self.idle:
                self._channel.call(body, min(_METRIC_SECONDS, timeout_millis / 1000), _nothing)
        except Exception as error:
            log.warning("metrics were not taken (%s)", type(error).__name__)
            return MetricExportResult.FAILURE
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002
        """Nothing waits here."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:  # noqa: ARG002
        """Close the connection."""
        self._channel.close()


def _nothing() -> None:
    pass


class _MetricReader(PeriodicExportingMetricReader):
    def _at_fork_reinit(self) -> None:
        """Nothing: the child has a reader of its own, else it would send the parent's series as well."""


@dataclass(frozen=True)
class _Options:
    service_name: str
    console: bool
    endpoint: str
    """`host:port`, or the URL before `/v1/traces`."""
    secure: bool
    http: bool
    headers: Mapping[str, str]

    def channel(self) -> Channel:
        """For spans."""
        if self.http:
            return Http(f"{self.endpoint}/v1/traces", self.headers)
        return Grpc(self.endpoint, self.secure, self.headers)

    def metric_exporter(self) -> "_MetricExporter | _HttpMetricExporter":
        """For metrics."""
        if self.http:
            return _HttpMetricExporter(Http(f"{self.endpoint}/v1/metrics", self.headers))
        return _MetricExporter(
            endpoint=self.endpoint,
            insecure=not self.secure,
            headers=dict(self.headers) or None,
            timeout=_METRIC_SECONDS,
            channel_options=OPTIONS,
        )


class Telemetry:
    """What init_tracing() built: to be flushed and closed by who called it. Thread-safe; survives a fork."""

    tracer_provider: Provider
    meter_provider: MeterProvider
    spool: Spool
    lost: LostSpans

    def __init__(self, options: _Options, tracer_provider: Provider) -> None:
        self.options = options
        self.tracer_provider = tracer_provider
        self._open()

    def _open(self) -> None:
        """All that has an identity, a thread, a lock or a connection: once at the start, anew in a forked child."""
        options = self.options
        identity = {
            "service.name": options.service_name,
            "service.version": __version__,
            "service.instance.id": str(uuid.uuid4()),
        }
        self._closing = threading.Lock()
        self._told = 0
        self.lost = LostSpans()
        self.spool = Spool(
            options.channel(),
            provider=self.tracer_provider,
            lost=self.lost,
            resource=wire.resource(identity),
            show=console.show if options.console else None,
        )
        self._exporter = options.metric_exporter()
        self.meter_provider = MeterProvider(
            resource=Resource(identity),
            metric_readers=[_MetricReader(self._exporter, export_interval_millis=METRIC_INTERVAL_MS)],
            exemplar_filter=AlwaysOffExemplarFilter(),
            shutdown_on_exit=False,
        )
        create_instruments(self.meter_provider, self.lost, self.spool.revive)

    def flush(self, seconds: float = 10.0) -> bool:
        """Send all finished spans; False when they were not taken within `seconds`, or some were lost since last time.

        How many were lost, and why, is in `lost`.
        """
        sent = self.spool.force_flush(int(seconds * 1000))
        lost = sum(self.lost.by_reason().values())
        none_lost, self._told = lost == self._told, lost
        return sent and none_lost

    def shutdown(self) -> None:
        """Flush and close, within about 4 seconds for spans and 2 for metrics; blocking, call it off the event loop.

        Later calls, and calls while one is going on, return at once. init_tracing() can start anew afterwards.
        """
        global _started
        if not self._closing.acquire(blocking=False):
            return
        self.spool.shutdown()
        self.meter_provider.shutdown(timeout_millis=2000)  # after the spans, so that the spans lost now are in it
        if _started is self:
            _started = None

    @property
    def closed(self) -> bool:
        """Whether shutdown() was called."""
        return self._closing.locked()

    def before_fork(self) -> None:
        """Wait until nothing is being sent, but not for a Collector that hangs."""
        self._exporter.idle.acquire(timeout=3)
        self.spool.idle.acquire(timeout=0.5)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        for idle in (self._exporter.idle, self.spool.idle):
            with contextlib.suppress(RuntimeError):  # the wait was in vain
                idle.release()

    def after_fork_in_child(self) -> None:
        """Begin anew, as a process of its own: what the parent has buffered is sent by the parent."""
        self.tracer_provider.forked()
        QUEUE_SIZE.forget()
        self._open()
        if os.environ.get("GRPC_ENABLE_FORK_SUPPORT", "true").lower() in ("0", "false", "no", "n", "f"):
            log.error("no spans leave this process: it was forked with GRPC_ENABLE_FORK_SUPPORT switched off")
            self.tracer_provider.close(self.lost, "refused")

    def close_with_process(self) -> None:
        """Flush at the end of a process of multiprocessing, which runs no atexit handlers."""
        multiprocessing.util.Finalize(None, self.shutdown, exitpriority=0)


_started: Telemetry | None = None
_starting = threading.RLock()
_provider: Provider | None = None  # OpenTelemetry's is set once per process, and its tracers are kept by libraries


def init_tracing(service_name: str = "healthcare-backend", enable_console: bool = False) -> Telemetry:
    """Start telemetry for this process: spans and metrics over OTLP. After shutdown() it starts anew.

    A second call returns what the first built; other arguments than the first's are without effect, and logged.
    Reads `OTEL_EXPORTER_OTLP_ENDPOINT` (default `http://127.0.0.1:4317`; `https://` for TLS),
    `OTEL_EXPORTER_OTLP_PROTOCOL` (`grpc`, or `http/protobuf` with `http://127.0.0.1:4318` as the default endpoint),
    `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_CONSOLE_EXPORTER` (`true` prints the spans, as `enable_console` does).
    Nothing else of the environment counts: it could halve counts or cut label values off.

    Forked processes (gunicorn's `--preload`, multiprocessing) go on by themselves, with an instance id of their own.
    A child that ends by `os._exit` calls `flush()` first.

    Raises:
        SettingError: the endpoint is no http(s) URL, or holds credentials, which the SDK would log; the protocol is
            neither.
    """
    global _started, _provider
    http = _is_http(os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "grpc")
    default = f"http://127.0.0.1:{_HTTP_PORT if http else _GRPC_PORT}"
    endpoint, secure = _endpoint(os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or default, http)
    headers = parse_env_headers(os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", ""), liberal=True)
    console = enable_console or os.environ.get("OTEL_CONSOLE_EXPORTER", "false").lower() == "true"
    options = _Options(service_name, console, endpoint, secure, http, headers)
    with _starting:
        if _started is not None:
            if options != _started.options:
                log.warning("telemetry runs already, with other arguments: call shutdown() first to change them")
            return _started
        if service_name not in contract().service_names:
            log.warning("the Collector drops telemetry of this service name: it is not in otel-collector/metrics.yaml")
        if _provider is None:
            set_global_textmap(NoInboundContext())
            _provider = Provider()
            trace.set_tracer_provider(_provider)
            tracing.bind()
        _started = Telemetry(options, _provider)
        if multiprocessing.parent_process() is not None:
            _started.close_with_process()
        multiprocessing.util.register_after_fork(_started, Telemetry.close_with_process)
        return _started


def _before_fork() -> None:
    if _started is not None:
        _started.before_fork()


def _after_fork_in_parent() -> None:
    if _started is not None:
        _started.after_fork_in_parent()


def _after_fork_in_child() -> None:
    global _starting
    _starting = threading.RLock()
    if _started is not None:
        _started.after_fork_in_child()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def _is_http(protocol: str) -> bool:
    if protocol not in ("grpc", "http/protobuf"):
        raise SettingError("OTEL_EXPORTER_OTLP_PROTOCOL must be grpc or http/protobuf")
    return protocol == "http/protobuf"


def _endpoint(url: str, http: bool) -> tuple[str, bool]:
    """`host:port`, or over HTTP the URL that paths are added to; and whether to use TLS."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingError("OTEL_EXPORTER_OTLP_ENDPOINT must be a URL such as http://otel-collector:4317")
    if parts.username or parts.password:
        raise SettingError("OTEL_EXPORTER_OTLP_ENDPOINT must hold no credentials: use OTEL_EXPORTER_OTLP_HEADERS")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    secure = parts.scheme == "https"
    if http:
        return f"{parts.scheme}://{host}:{parts.port or _HTTP_PORT}{parts.path.rstrip('/')}", secure
    return f"{host}:{parts.port or _GRPC_PORT}", secure


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
