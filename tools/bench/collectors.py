"""What a span costs the Collector: the shipped YAML beside a bare one, fed what the service sent."""

import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from simulator.load import send
from simulator.messages import generate
from tools.base.otlp import TRACES
from tools.base.otlp_sink import Sink
from tools.base.wait import until
from tools.bench.messages import served
from tools.bench.rounds import cpu_seconds, in_turns
from tools.replay.collector import Collector
from tools.stack.stack import Stack

BARE = """\
receivers: {otlp: {protocols: {grpc: {endpoint: "${env:OTLP_GRPC_ENDPOINT}"}}}}
connectors: {span_metrics: {metrics_flush_interval: "${env:DERIVE_INTERVAL}"}}
exporters:
  otlp_grpc: {endpoint: "${env:TRACE_STORE_ENDPOINT}", tls: {insecure: true}}
  prometheus: {endpoint: "${env:DERIVED_METRICS_ENDPOINT}"}
extensions: {health_check: {endpoint: "${env:HEALTH_ENDPOINT}"}}
service:
  extensions: [health_check]
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [otlp], exporters: [span_metrics, otlp_grpc]}
    metrics: {receivers: [span_metrics], exporters: [prometheus]}
"""
"""What one would begin with: it protects nothing, survives no outage, and makes none of the documented names."""

SPANS = 20_000
GROWTH = ((1, 1), (10, 1), (100, 1), (100, 2), (100, 4))  # traffic, and processes that send it
LONG = "60s"  # a flush costs the same for any traffic
SIZES = {"as the service sends": 0, "256 a request": 256}


@dataclass
class Growth:
    """The shipped Collector after so much traffic."""

    times: int
    processes: int
    spans: int
    series: int
    mebibytes: float
    microseconds: float
    """CPU a span."""


def record(stack: Stack, messages: int) -> list[ExportTraceServiceRequest]:
    """What the service sends for so many messages, request by request."""
    with Sink().listening() as sink:
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{sink.endpoint}"}
        with served(stack, "ours", environment=endpoint) as (_, url):
            secret = stack.service_environment()["WEBHOOK_SECRET"]
            send(generate(seed=3, count=messages), url, secret, 50.0)
        return list(sink.requests)


def measure(
    recorded: Sequence[ExportTraceServiceRequest], rounds: int, say: Callable[[str], None]
) -> dict[str, dict[str, list[float]]]:
    """Microseconds of CPU a span, by how many spans a request has, then by which Collector."""
    found = {}
    for size, spans in SIZES.items():
        say(f"Collector: {size}")
        bodies, count = _bodies(recorded, spans)
        with _pair() as collectors:

            def turn(name: str, bodies: list[bytes] = bodies, count: int = count) -> float:
                return _take(collectors[name], bodies) / count * 1e6

            in_turns(list(collectors), 1, turn)
            found[size] = in_turns(list(collectors), rounds, turn)
    return found


def grow(recorded: Sequence[ExportTraceServiceRequest], say: Callable[[str], None]) -> list[Growth]:
    """Series, memory and CPU of the shipped one, as traffic and the number of processes that send it grow."""
    count, webhooks = sum(map(_count, recorded)), _webhooks(recorded)
    found = []
    for times, processes in GROWTH:
        say(f"growth: {times} x {count} spans of {processes} processes")
        bodies = [body for number in range(processes) for body in _of_process(recorded, number)]
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, Sink().listening() as sink:
            collector = Collector(Path(folder) / "shipped", sink.endpoint, interval="1s")
            with collector.running():
                cpu = _take(collector, bodies * (times // processes))
                wanted = webhooks * times
                until(lambda: _counted(collector) == wanted, "all are counted")  # noqa: B023
                memory = psutil.Process(collector.process.pid).memory_full_info().pss / 2**20
                series = sum(1 for line in collector.exposition().splitlines() if not line.startswith("#"))
        spans = count * times
        found.append(Growth(times, processes, spans, series, memory, cpu / spans * 1e6))
    return found


def _of_process(recorded: Sequence[ExportTraceServiceRequest], number: int) -> Iterator[bytes]:
    """The same, as another process would send it."""
    for request in recorded:
        copy = ExportTraceServiceRequest.FromString(request.SerializeToString())
        for part in copy.resource_spans:
            for item in part.resource.attributes:
                if item.key == "service.instance.id":
                    item.value.string_value = str(uuid.UUID(int=number))
        yield copy.SerializeToString()


def _counted(collector: Collector) -> int:
    return round(sum(v for (name, _), v in collector.samples().items() if name == "webhook_requests_total"))


def _webhooks(recorded: Sequence[ExportTraceServiceRequest]) -> int:
    spans = (span for r in recorded for p in r.resource_spans for scope in p.scope_spans for span in scope.spans)
    return sum(span.kind == Span.SPAN_KIND_SERVER for span in spans)


@contextmanager
def _pair() -> Iterator[dict[str, Collector]]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as running:
        folder = Path(name)
        bare = folder / "bare.yaml"
        bare.write_text(BARE, "utf-8")
        nothing = folder / "nothing.yaml"
        nothing.write_text("{}", "utf-8")
        sinks = [running.enter_context(Sink().listening()) for _ in range(2)]
        collectors = {
            "bare": Collector(folder / "bare", sinks[0].endpoint, bare, nothing, LONG),
            "shipped": Collector(folder / "shipped", sinks[1].endpoint, interval=LONG),
        }
        for collector in collectors.values():
            running.enter_context(collector.running())
        yield collectors


def _take(collector: Collector, bodies: Sequence[bytes]) -> float:
    """CPU seconds until all were taken and sent on."""
    before = cpu_seconds(collector.process.pid)
    with grpc.insecure_channel(collector.grpc) as channel:
        call = channel.unary_unary(TRACES)
        for body in bodies:
            call(body, timeout=30)
    _idle(collector)
    return cpu_seconds(collector.process.pid) - before


def _idle(collector: Collector) -> None:
    """Until the queue to the store is empty: it uses hardly any CPU for half a second."""
    last = 0.0

    def still() -> bool:
        nonlocal last
        now = cpu_seconds(collector.process.pid)
        quiet, last = now - last < 0.02, now
        return quiet

    until(still, "the Collector has nothing more to do", every=0.5)


def _bodies(recorded: Sequence[ExportTraceServiceRequest], size: int) -> tuple[list[bytes], int]:
    """Requests of this many spans, or as they were, often enough for SPANS; and how many spans they hold."""
    requests = list(recorded) if size == 0 else list(_cut(recorded, size))
    count = sum(map(_count, requests))
    times = max(1, SPANS // count)
    return [request.SerializeToString() for request in requests] * times, count * times


def _cut(recorded: Sequence[ExportTraceServiceRequest], size: int) -> Iterator[ExportTraceServiceRequest]:
    group: list[ResourceSpans] = []
    waiting = 0
    for request in recorded:
        group.extend(request.resource_spans)
        waiting += _count(request)
        if waiting >= size:
            yield ExportTraceServiceRequest(resource_spans=group)
            group, waiting = [], 0


def _count(request: ExportTraceServiceRequest) -> int:
    return sum(len(scope.spans) for part in request.resource_spans for scope in part.scope_spans)
