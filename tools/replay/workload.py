"""The spans that `make plan` and the tests replay: the same bytes every time, and how the metrics must see each.

They cover every row, every label value, both sides of every bucket's edge, every status, what instrumentations send,
what must not be counted, and patients' data in every place where a sender could put them.
"""

import itertools
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tools.base.otlp import ASYNCPG, FASTAPI, REDIS, SERVICE, Request, Spec, attributes, metrics, traces
from tools.model.contract import OTHER, Contract, attribute
from tools.model.expected import Samples, Seen, expected
from tools.replay.canaries import Canaries, plant_numbers, plant_texts, plant_twice, plant_types

SEED = 20260101
START = 1_767_225_600_000_000_000  # the same nanosecond every time, because the bytes are
BATCH = 64  # as the service sends

WEBHOOK = "/webhooks/evolution"
INSTANCE = "0123abcd-0123-abcd-0123-0123456789ab"
RESOURCE = {**SERVICE, "service.instance.id": INSTANCE, "service.version": "1.2.3"}
LOST = 7
QUEUED = 12
TEMPORALITY = (
    AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE,
    AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA,
)


@dataclass(frozen=True)
class Sent:
    """A span and, unless nothing may count it, how the metrics must see it."""

    spec: Spec
    seen: Seen | None = None


@dataclass(frozen=True)
class Workload:
    """All that is sent.

    Args:
        contracts: those whose labels, values and edges are covered: both versions', so that neither hides something.
    """

    contracts: tuple[Contract, ...]
    canaries: Canaries = field(default_factory=Canaries)
    _random: random.Random = field(default_factory=lambda: random.Random(SEED))  # noqa: S311

    @cached_property
    def sent(self) -> list[Sent]:
        """Every span of the known service but the hostile ones."""
        parts = (self._label_sets(), self._edges(), _requests(), _queries(), self._errors(), _others())
        return [self._identified(sent) for sent in itertools.chain(*parts)]

    @cached_property
    def requests(self) -> list[Request]:
        """The exports, in their order: spans, hostile spans, metrics."""
        specs = [sent.spec for sent in self.sent]
        batches = [specs[start : start + BATCH] for start in range(0, len(specs), BATCH)]
        return [*(traces(batch, RESOURCE) for batch in batches), *self._planted, *self._metrics]

    @cached_property
    def span_ids(self) -> set[bytes]:
        """Of every span that a trace store must get."""
        return {sent.spec.span_id for sent in (*self.sent, *self._hostile)}

    def expected(self, contract: Contract) -> Samples:
        """What must come out, by a contract: every sample that is not zero."""
        seen = [_clamped(sent.seen, contract) for sent in self.sent if sent.seen]
        seen += [sent.seen for sent in self._hostile if sent.seen]
        job = ("job", SERVICE["service.name"])
        instruments: Samples = {}
        for name, metric in contract.instruments.items():
            for instance in (INSTANCE[:3], OTHER):
                own = {job, ("instance", instance)}
                if metric.source.instrument == "mem0.write_queue_size":
                    instruments[name, frozenset(own)] = QUEUED
                if metric.source.instrument == "telemetry.spans.lost":
                    for reason in (*metric.labels["reason"], OTHER):
                        instruments[name, frozenset({*own, ("reason", reason)})] = LOST
        return expected(seen, contract) | instruments

    def _identified(self, sent: Sent) -> Sent:
        trace_id, span_id = self._random.randbytes(16), self._random.randbytes(8)
        return replace(sent, spec=replace(sent.spec, trace_id=trace_id, span_id=span_id, end=START))

    def _label_sets(self) -> Iterator[Sent]:
        """Every label set of every family, one to three times, with durations of all sizes."""
        milliseconds = itertools.cycle([0, 1, 7, 450, 1_000, 31_000])
        for family in sorted(set().union(*(contract.families for contract in self.contracts))):
            for number, labels in enumerate(label_sets(family, self.contracts)):
                seen = Seen(family, labels, next(milliseconds) * 1_000_000)
                yield from [Sent(own(seen), seen)] * (number % 3 + 1)

    def _edges(self) -> Iterator[Sent]:
        """Just under, on and just over every edge, once for each metric that has buckets."""
        edges = sorted(set().union(*(contract.buckets for contract in self.contracts)))
        histograms = {
            metric.source.families[0]
            for contract in self.contracts
            for metric in contract.derived.values()
            if metric.type == "histogram"
        }
        for family in sorted(histograms):
            labels = label_sets(family, self.contracts)[0]
            for edge, step in itertools.product(edges, (-1, 0, 1)):
                seen = Seen(family, labels, round(edge * 1e9) + step)
                yield Sent(own(seen), seen)

    def _errors(self) -> Iterator[Sent]:
        """Every kind of error in every component, on a span that feeds nothing else, and once on one that does."""
        kinds, components = (sorted(_values(name, self.contracts)) for name in ("error.type", "component"))
        for kind, component in itertools.product(kinds, components):
            seen = Seen("", {"error.type": kind, "component": component})
            yield Sent(Spec("error.handled", seen.attributes, failed=True), seen)
        seen = Seen("mem0.write", {"status": "error", "error.type": kinds[0], "component": components[0]})
        yield Sent(own(seen), seen)
        yield Sent(Spec("message.process", {"error.type": kinds[0]}, failed=True))  # handled elsewhere

    @cached_property
    def _hostile(self) -> list[Sent]:
        """One span for each way to plant; what is left of the wrong values counts as `other`."""
        wrong = {"lane": OTHER, "component": OTHER, "error.type": OTHER}
        right = {"lane": "faq", "component": "cache", "error.type": "timeout", "message_id": MESSAGE_ID}
        labels = [wrong, wrong, wrong, wrong, right, {"lane": "faq"}]
        spans = [Spec("lane.classify", right if one is wrong else one, 5_000_000) for one in labels]
        return [
            self._identified(Sent(spec, Seen(spec.name, one, spec.nanoseconds)))
            for spec, one in zip(spans, labels, strict=True)
        ]

    @cached_property
    def _planted(self) -> list[Request]:
        """The hostile spans, each in an export of its own; and an unknown service, which must not even be stored."""
        requests = [traces([sent.spec], RESOURCE) for sent in self._hostile]
        texts, in_bytes, in_list, in_map, twice, numbers = (request.resource_spans[0] for request in requests)
        plant_texts(self.canaries, texts)
        plant_types(self.canaries, in_bytes, "bytes", str.encode)
        plant_types(self.canaries, in_list, "a list", lambda text: ["faq", text])
        plant_types(self.canaries, in_map, "a map", lambda text: {text: text})
        plant_twice(self.canaries, twice)
        plant_numbers(self.canaries, numbers)
        stranger = self._identified(Sent(Spec("lane.classify", {"lane": "faq"}))).spec
        return [*requests, traces([stranger], {"service.name": self.canaries.plant("the name of another service")})]

    @cached_property
    def _metrics(self) -> list[Request]:
        """The two instruments, described wrongly, of a known process and of one that hides; others must not pass."""
        planted = attributes({"patient": self.canaries.plant("an attribute of a data point")})
        text = self.canaries.plant("a metric's description")
        reasons = sorted(set().union(*(contract.closed_set("reason") for contract in self.contracts)) - {OTHER})
        gauge, lost = _gauge("mem0.write_queue_size", QUEUED, text), _counter("telemetry.spans.lost", [], text)
        for reason in (*reasons, self.canaries.plant("the attribute reason")):
            lost.sum.data_points.add(as_int=LOST, time_unix_nano=START, attributes=attributes({"reason": reason}))
        for point in (*gauge.gauge.data_points, *lost.sum.data_points):
            point.attributes.extend(planted)
            point.exemplars.add(as_int=1, time_unix_nano=START, filtered_attributes=planted)
        foreign = [_gauge(name, 666) for name in ("patients", "webhook_requests_total", "telemetry.spans.lost")]
        foreign += [_gauge(self.canaries.plant("a metric's name"), 666), _counter("mem0.write_queue_size", [666])]
        foreign += [_counter("telemetry.spans.lost", [666], delta=True), _counter("span.calls", [666])]
        foreign += [_counter("telemetry.spans.lost", [666], monotonic=False)]
        hiding = self.canaries.plant("the id of a process")
        hidden = [hiding, f"{hiding} {INSTANCE}", f"fff{INSTANCE[3:]} {hiding}"]  # a right id in it, too
        stranger = {**RESOURCE, "service.name": self.canaries.plant("the service of a metric")}
        return [
            metrics([gauge, lost], RESOURCE),
            *(metrics([gauge, lost], {**RESOURCE, "service.instance.id": one}) for one in hidden),
            metrics([gauge, lost], stranger),
            metrics(foreign, RESOURCE),
        ]


def _gauge(name: str, number: int, text: str = "") -> Metric:
    metric = Metric(name=name, unit="1", description=text)
    metric.gauge.data_points.add(as_int=number, time_unix_nano=START)
    return metric


def _counter(name: str, numbers: list[int], text: str = "", delta: bool = False, monotonic: bool = True) -> Metric:
    metric = Metric(name=name, unit="1", description=text)
    metric.sum.aggregation_temporality = TEMPORALITY[delta]
    metric.sum.is_monotonic = monotonic
    for number in numbers:
        metric.sum.data_points.add(as_int=number, time_unix_nano=START)
    return metric


def own(seen: Seen) -> Spec:
    """A span of the service's own scope that the metrics must see as this."""
    name = f"cache.{seen.attributes['operation']}" if seen.family == "cache.operation" else seen.family
    return Spec(name, seen.attributes, seen.nanoseconds)


def label_sets(family: str, contracts: Iterable[Contract]) -> list[dict[str, str]]:
    """Every combination of label values that metrics of a family can have, `other` among them."""
    sets: dict[str, set[str]] = {}
    for contract in contracts:
        for metric in contract.derived.values():
            if family in metric.source.families:
                for label, values in metric.labels.items():
                    sets.setdefault(attribute(label), {OTHER}).update(values)
                for key in metric.source.required:
                    sets[key] = contract.values(key) - {OTHER}
    if family == "cache.operation":  # the operation is in the span's name, which is one of three
        sets["operation"] -= {OTHER}
    return [dict(zip(sets, values, strict=True)) for values in itertools.product(*map(sorted, sets.values()))]


def _values(key: str, contracts: Iterable[Contract]) -> set[str]:
    return set().union(*(contract.values(key) for contract in contracts))


def _clamped(seen: Seen, contract: Contract) -> Seen:
    """With `other` in place of what this contract does not know."""
    sets = {key: contract.values(key) for key in seen.attributes}
    return replace(
        seen, attributes={key: text if text in sets[key] else OTHER for key, text in seen.attributes.items()}
    )


def _requests() -> Iterator[Sent]:
    """SERVER spans as FastAPI's instrumentation makes them, also of requests that no handler saw."""
    routes = [WEBHOOK, f"{WEBHOOK}/{{event}}", "/health", None]
    for method, route, code in itertools.product(["POST", "GET"], routes, [200, 399, 400, 401, 422, 500, 503, None]):
        yield _request(method, route, code)
    said = [("faq", "success"), ("price", "success"), ("scheduling", "success"), ("complex", "error")]
    said += [("none", "duplicate"), ("none", "ignored")]
    for lane, status in said:
        yield _request("POST", WEBHOOK, 200, lane=lane, status=status)


def _request(method: str, route: str | None, code: int | None, **handler: str) -> Sent:
    given = {"http.request.method": method, "http.route": route, "http.response.status_code": code, **handler}
    present = {key: content for key, content in given.items() if content is not None}
    name = f"{method} {route}" if route else method
    spec = Spec(name, present, 12_000_000, FASTAPI, Span.SPAN_KIND_SERVER, failed=(code or 500) >= 500)
    if method != "POST" or not (route or "").startswith(WEBHOOK):
        return Sent(spec)
    by_code = "error" if code is None or code >= 500 else "rejected" if code >= 400 else "success"
    labels = {"endpoint": WEBHOOK, "lane": handler.get("lane", "none"), "status": handler.get("status", by_code)}
    return Sent(spec, Seen("webhook.request", labels, spec.nanoseconds))


def _queries() -> Iterator[Sent]:
    """CLIENT spans as asyncpg's instrumentation names them: by the first word as typed."""
    words = {"SELECT": "select", "insert": "insert", "Update": "update", "BEGIN;": "begin", "COMMIT;": "commit"}
    words |= {"WITH": "with", "CURSOR: SELECT": "cursor", "VACUUM": OTHER, "ROLLBACK": "rollback"}
    for (name, operation), failed in itertools.product(words.items(), (False, True)):
        spec = Spec(name, {"db.system.name": "postgresql"}, 3_000_000, ASYNCPG, Span.SPAN_KIND_CLIENT, failed)
        labels = {"operation": operation, "status": "error" if failed else "success"}
        yield Sent(spec, Seen("db.query", labels, spec.nanoseconds))


def _others() -> Iterator[Sent]:
    """What only traces show: other spans, and names and values of every shape, right and wrong."""
    steps = ("message.process", "patient.identify", "reply.send", "llm.chat", "db.acquire", "idempotency.mark")
    for name in (*steps, "process_message"):
        labels = {"status": "success"} if name == "reply.send" else {}
        yield Sent(Spec(name, {"message_id": MESSAGE_ID, **labels}), Seen(name, labels))  # some contract may count it
    for name in ("GET", "SET", "PING"):
        yield Sent(Spec(name, {"db.system.name": "redis"}, scope=REDIS, kind=Span.SPAN_KIND_CLIENT))
    yield Sent(Spec("lane.classify", {"lane": "faq"}, scope="some.library"))
    yield Sent(Spec("process_message", {"family": "mem0.write", "status": "success"}))
    for name in NAMES:
        yield Sent(Spec(name, scope="some.library"))
        yield Sent(Spec("process_message", scope=name))
    for text in MESSAGE_IDS:
        yield Sent(Spec("process_message", {"message_id": text}))
    for kind in (0, 5, 6):
        yield Sent(Spec("process_message", kind=Span.SpanKind.ValueType(kind)))
    for code in (99, 100, 599, 600, "200", True):
        yield Sent(Spec("GET /health", {"http.response.status_code": code}, scope=FASTAPI))


MESSAGE_ID = "3EB0C767D26A1B2C3D4E"
MESSAGE_IDS = [
    "3A" * 4,
    "3A" * 32,
    "3A" * 33,
    "3EB0C7",
    "3EB012345678",
    "maria.silva",
    f"{MESSAGE_ID}@s.whatsapp.net",
    "",
]
NAMES = ["mem0.write", "process.v2", "step.two", "v1.v2", "Maria Silva", "joão", "x" * 64, "x" * 65, "patient.5511", ""]
NAMES += [
    "POST",
    "POST /a/{b}",
    "POST /p/123",
    "GET /Maria",
    "SELECT",
    "BEGIN;",
    "SELECT Maria",
    "MGET",
    "1a",
    "a1",
    ".a",
]
