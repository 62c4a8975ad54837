"""One version of the Collector's YAML, run for real: the workload goes in, all that comes out is kept."""

import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import psutil
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from tools.base.errors import CannotRunError
from tools.base.files import Sources
from tools.base.otlp import METRICS, TRACES, Request
from tools.base.otlp_sink import Sink
from tools.base.wait import until
from tools.model.collector_yaml import CollectorYaml, type_of
from tools.model.expected import Samples
from tools.model.scrape import not_scraped
from tools.replay.canaries import Canaries
from tools.replay.collector import OPEN_METRICS, Collector, exemplars
from tools.replay.pushed import received
from tools.replay.workload import Workload

FLUSH = 0.4  # of span_metrics in both versions, whatever their YAML says: an answer in seconds, not in minutes
STILL = 8  # looks, two a flush, at which nothing moved: a new counter shows its value at the second flush
REPEATS = 5
GRPC, HTTP = ("otlp_grpc", "otlp"), ("otlp_http", "otlphttp")
COST_SPANS = 10_000
COST_ROUNDS = 5


@dataclass(frozen=True)
class Stored:
    """A span as a trace store gets it."""

    name: str
    kind: int
    status: int
    attributes: Mapping[str, str]
    events: tuple[str, ...]
    links: int
    resource: Mapping[str, str]
    scope: str
    emptied: str
    """What has to be empty: the status message, trace state, schema URLs, flags, counts of what was dropped."""


@dataclass
class Replayed:
    """What came out of one version."""

    samples: Samples = field(default_factory=dict)
    meaning: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Type and HELP by metric."""
    edges: dict[str, list[str]] = field(default_factory=dict)
    """Of the buckets, by metric."""
    health: dict[str, frozenset[str]] = field(default_factory=dict)
    """The Collector's metrics about itself, each with the names of its labels."""
    exemplars: set[str] = field(default_factory=set)
    """The metrics that showed any."""
    linked: set[str] = field(default_factory=set)
    """Trace ids in exemplars."""
    stored: dict[str, dict[str, Stored]] = field(default_factory=dict)
    """Spans by id, for each exporter of traces."""
    trace_ids: dict[str, set[str]] = field(default_factory=dict)
    copies: dict[str, int] = field(default_factory=dict)
    """How many spans an exporter sent twice."""
    leaks: dict[str, set[str]] = field(default_factory=dict)
    """Where planted data came out, and the places in which they had been planted."""
    summary: dict[str, float] = field(default_factory=dict)
    """The figures of /metrics/summary."""
    exposition: str = ""


class Version:
    """A configuration made ready to run: all its addresses are on loopback, each exporter has a sink of its own."""

    def __init__(self, sources: Sources, folder: Path, flush: float = FLUSH) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.yaml = CollectorYaml(sources)
        self.name = sources.name
        self._not_scraped = not_scraped(sources)
        self._flush = f"{flush}s"
        self._files = self.yaml.write(folder)
        self._folder = folder
        self.sinks: dict[str, Sink] = {}
        self.outcome = Replayed()

    @contextmanager
    def running(self) -> Iterator["Version"]:
        """Started within.

        Raises:
            CannotRunError: it does not start.
        """
        with ExitStack() as stack:
            changes = self._changes(stack)
            config, extras = self._files
            self.collector = Collector(self._folder, "127.0.0.1:1", config, extras, self._flush, changes)
            try:
                stack.enter_context(self.collector.running())
            except (RuntimeError, TimeoutError) as error:
                raise CannotRunError(f"{self.name}: {_reason(error)}") from error
            self._channel = stack.enter_context(grpc.insecure_channel(self.collector.grpc))
            yield self

    def replay(self, workload: Workload) -> None:
        """Send everything and keep what comes out, once nothing moves any more.

        Raises:
            CannotRunError: it refuses, or ends.
        """
        late = self._sent_and_settled(workload)
        try:
            self._keep(workload.canaries)
        except (RuntimeError, OSError) as error:
            raise CannotRunError(f"{self.name}: {_reason(error)}") from error
        documented = set().union(*(one.derived for one in workload.contracts)) & self.outcome.meaning.keys()
        for _ in range(REPEATS):
            if not late or documented <= self.outcome.exemplars:  # each is shown for one flush
                break
            late = self._sent_and_settled(workload)

    def measure(self, payloads: Sequence[bytes]) -> float:
        """CPU seconds of taking these exports."""
        process = psutil.Process(self.collector.process.pid)
        before = sum(process.cpu_times()[:2])
        call = self._channel.unary_unary(TRACES)
        for payload in payloads:
            call(payload, timeout=10)
        return float(sum(process.cpu_times()[:2]) - before)

    def _sent_and_settled(self, workload: Workload) -> bool:
        for request in workload.requests:
            self._send(request)
        return self._settle()

    def _send(self, request: Request) -> None:
        path = METRICS if hasattr(request, "resource_metrics") else TRACES
        try:
            self._channel.unary_unary(path)(request.SerializeToString(), timeout=10)
        except grpc.RpcError as error:
            raise CannotRunError(f"{self.name}: an export was refused: {error.details()}") from error

    def _settle(self) -> bool:
        """Until it shows what it showed before, and the stores got all or no more; whether a look was a flush late."""
        last: tuple[object, ...] = ()
        same = 0  # no seconds: where the Collector has to wait for the CPU, so has each look at it
        late, looked = False, time.monotonic()

        def still() -> bool:
            nonlocal last, same, late, looked
            late, looked = late or time.monotonic() - looked > FLUSH, time.monotonic()
            for name, ids in exemplars(self.collector.exposition(OPEN_METRICS)):
                self.outcome.exemplars.add(name)
                self.outcome.linked.add(ids["trace_id"])
            # Sums are left out: added up in another order at each flush, their last digit changes for ever.
            lines = [line for line in self.collector.exposition().splitlines() if "_sum{" not in line]
            seen = (*lines, *(len(sink.requests) + len(sink.metrics) for sink in self.sinks.values()))
            same = same + 1 if seen == last else 0
            last = seen
            return same >= STILL

        try:
            until(still, "the counts stand still", every=FLUSH / 2)
        except (RuntimeError, OSError, TimeoutError) as error:
            raise CannotRunError(f"{self.name}: {_reason(error)}") from error
        return late

    def _keep(self, canaries: Canaries) -> None:
        outcome = self.outcome
        outcome.exposition = self.collector.exposition()
        pushed, meaning = received(export for sink in self.sinks.values() for export in sink.metrics)
        shown = {key: number for key, number in self.collector.samples().items() if key[0] not in self._not_scraped}
        shown |= pushed
        outcome.samples = {key: round(number, 9) for key, number in shown.items() if number}
        edges = {
            (name.removesuffix("_bucket"), dict(labels)["le"]) for name, labels in shown if name.endswith("_bucket")
        }
        for name, edge in sorted(edges, key=lambda pair: float(pair[1])):
            outcome.edges.setdefault(name, []).append(edge)
        scraped = self.collector.meaning()
        outcome.meaning = {name: said for name, said in scraped.items() if name not in self._not_scraped} | meaning
        own = self.collector.own_exposition()
        outcome.health = _named(own)
        for name, sink in self.sinks.items():
            if sink.metrics:
                bodies = b"".join(export.SerializeToString() for export in list(sink.metrics))
                _note(outcome, canaries, f"metrics to {name}", bodies)
            if self.yaml.signals(name) == {"metrics"}:
                continue
            outcome.stored[name] = dict(_stored(sink))
            spans = list(sink.spans())
            outcome.copies[name] = len(spans) - len({span.span_id for span in spans})
            outcome.trace_ids[name] = {span.trace_id.hex() for span in spans}
            _note(outcome, canaries, f"traces to {name}", b"".join(r.SerializeToString() for r in list(sink.requests)))
        _note(outcome, canaries, "the metrics", (outcome.exposition + self.collector.exposition(OPEN_METRICS)).encode())
        _note(outcome, canaries, "the Collector's own metrics", own.encode())
        _note(outcome, canaries, "the Collector's log", self.collector.log().encode())

    def _changes(self, stack: ExitStack) -> list[str]:
        """What is laid over the YAML: where its exporters send to, and intervals that fit a person's patience."""
        changes = []
        for name in self.yaml.part("exporters") or {}:
            if type_of(name) in GRPC + HTTP:
                by_grpc = type_of(name) in GRPC
                sink = self.sinks[name] = Sink("grpc" if by_grpc else "http/protobuf")
                stack.enter_context(sink.listening())
                address = sink.endpoint if by_grpc else f"http://{sink.endpoint}"
                changes.append(f"exporters::{name}::endpoint: {address}")
                changes += [f"exporters::{name}::tls: {{insecure: true}}"] * by_grpc
            elif type_of(name) != "prometheus":
                changes += self._elsewhere("exporters", name)
        for name in self.yaml.part("receivers") or {}:
            if name not in self.yaml.ours("receivers"):
                changes += self._elsewhere("receivers", name)
        for name in self.yaml.of_type("connectors", "span_metrics"):
            changes.append(f"connectors::{name}::metrics_flush_interval: {self._flush}")
        for name in self.yaml.of_type("processors", "tail_sampling"):
            changes.append(f"processors::{name}::decision_wait: 300ms")
        for name in self.yaml.of_type("extensions", "file_storage"):
            changes.append(f"extensions::{name}::directory: {self._folder / 'queue' / name.replace('/', '-')}")
        return changes

    def _elsewhere(self, *keys: str) -> Iterator[str]:
        """No endpoint of a component that the plan does not know: nothing of a plan reaches a real system."""
        for key, item in (self.yaml.part(*keys) or {}).items():
            if isinstance(item, dict):
                yield from self._elsewhere(*keys, key)
            elif key == "endpoint" and isinstance(item, str):
                scheme = item.partition("://")[0] + "://" if "://" in item else ""
                port = 0 if keys[0] == "receivers" else 9  # any free one to listen at; nobody is at the other
                yield f"{'::'.join(keys)}::endpoint: {scheme}127.0.0.1:{port}"


def cost_ratio(base: Version, edit: Version, workload: Workload) -> float:
    """CPU per span of the edit divided by that of the base: median of rounds in turn, fair on a busy machine too.

    Both have to be running, with a flush interval longer than this takes, since a flush costs the same for any traffic.
    """
    exports = [request for request in workload.requests if isinstance(request, ExportTraceServiceRequest)]
    spans = [resource for request in exports for resource in request.resource_spans]
    export = ExportTraceServiceRequest(resource_spans=spans).SerializeToString()
    payloads = [export] * (COST_SPANS // len(workload.sent))
    ratios = [edit.measure(payloads) / max(base.measure(payloads), 0.01) for _ in range(COST_ROUNDS)]
    return median(ratios)


def run_together(versions: Sequence[Version], workload: Workload) -> None:
    """Replay into all of them at the same time; each has to be running.

    Raises:
        CannotRunError: of the first that could not.
    """
    _ = workload.requests  # made once, not in each thread
    failures: list[CannotRunError] = []

    def replay(version: Version) -> None:
        try:
            version.replay(workload)
        except CannotRunError as error:
            failures.append(error)

    threads = [threading.Thread(target=replay, args=[version]) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _named(exposition: str) -> dict[str, frozenset[str]]:
    """The metrics in an exposition with the names of their labels."""
    found: dict[str, frozenset[str]] = {}
    for line in exposition.splitlines():
        if match := re.match(r"(otelcol_\w+)(?:\{(.*)\})? ", line):
            found[match[1]] = found.get(match[1], frozenset()) | set(re.findall(r'(\w+)="', match[2] or ""))
    return found


def _note(outcome: Replayed, canaries: Canaries, where: str, output: bytes) -> None:
    if found := canaries.found(output):
        outcome.leaks[where] = found


def _stored(sink: Sink) -> Iterator[tuple[str, Stored]]:
    for request in list(sink.requests):
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    yield span.span_id.hex(), _span(resource, scope, span)


def _span(resource: ResourceSpans, scope: ScopeSpans, span: Span) -> Stored:
    return Stored(
        span.name,
        span.kind,
        span.status.code,
        _texts(span.attributes),
        tuple(f"{event.name} {_texts(event.attributes)}" for event in span.events),
        len(span.links),
        _texts(resource.resource.attributes),
        f"{scope.scope.name} {scope.scope.version} {_texts(scope.scope.attributes)}",
        _emptied(resource, scope, span),
    )


def _emptied(resource: ResourceSpans, scope: ScopeSpans, span: Span) -> str:
    numbers = [part.dropped_attributes_count for part in (resource.resource, scope.scope, span, *span.events)]
    numbers += [span.dropped_events_count, span.dropped_links_count, span.flags]
    texts = [resource.schema_url, scope.schema_url, span.trace_state, span.status.message]
    return " ".join([*(text for text in texts if text), *(str(number) for number in numbers if number)])


def _texts(attributes: Any) -> dict[str, str]:
    return {item.key: item.value.string_value or str(item.value).strip() for item in attributes}


def _reason(error: BaseException) -> str:
    """The line of the Collector's log that says why, or all there is."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if line.lower().startswith(("error", "panic", "failed", "*"))]
    return " ".join((told or lines)[:3])
