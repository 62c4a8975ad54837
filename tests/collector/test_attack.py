"""Floods: 100 000 distinct values in whatever field a sender can fill make no series, and no count wrong.

They come over gRPC and HTTP, each field's flood half by half, on one Collector with the limits that are shipped. What
each single value becomes is in test_hostile.py.
"""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice, product
from math import prod
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import yaml
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span, Status

from tests.collector.bench import Bench, own
from tests.collector.test_hostile import CLOSED
from tools.base.otlp import ASYNCPG, FASTAPI, METRICS, SERVICE, TRACES, Request, Spec, attributes, metrics, send, traces
from tools.base.otlp_sink import Sink
from tools.base.wait import until
from tools.model.contract import JOB
from tools.model.expected import SHIPPED, Samples, Seen, added, expected
from tools.replay.collector import CONFIG, Collector
from tools.stack.programs import ROOT

DISTINCT = 100_000
A_REQUEST = 2_500_000  # bytes, or less; the receiver takes 4 MiB
AT_ONCE = 3  # requests
NUMBER = b"000000"  # where a template has it, each copy has another number
V = "maria 000000"

EXACT = 1_953_125  # nanoseconds: 2⁻⁹ s, so that a hundred thousand of them add up without rounding
FAQ = Seen("lane.classify", {"lane": "faq"}, EXACT)
GOOD = Seen("lane.classify", {"lane": "price"}, EXACT)
GOOD_EACH = 10  # spans of a well-behaved sender, sent before, amid and after a flood

MEMORY_LIMIT_MIB = int(re.findall(r"MEMORY_LIMIT_MIB:-(\d+)", CONFIG.read_text())[0])
SCRAPE = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text())["scrape_configs"][0]
SAMPLES_OF = {"counter": 1, "histogram": len(SHIPPED.buckets) + 3}  # edges, +Inf, count and sum
MOST_SERIES = sum(
    SAMPLES_OF[metric.type] * prod(len(SHIPPED.closed_set(label)) for label in metric.labels)
    for metric in SHIPPED.derived.values()
)


@dataclass(frozen=True)
class Flood:
    """Copies of one export that differ in the number, wherever the template has it.

    `seen` is what each copy's span must be counted as; None: as nothing.
    """

    template: Request
    seen: Seen | None = None
    copies: int = DISTINCT

    def bodies(self, size: int = A_REQUEST) -> list[bytes]:
        """The whole flood, encoded: messages one after the other are one message with all that they repeat."""
        one = self.template.SerializeToString()
        assert NUMBER in one
        copies = [one.replace(NUMBER, number) for number in numbers(self.copies)]
        each = size // len(one)
        return [b"".join(copies[start : start + each]) for start in range(0, self.copies, each)]

    def counted(self) -> Samples:
        """What it adds to the exposition."""
        once = expected([self.seen] if self.seen else [])
        return {key: amount * self.copies for key, amount in once.items()}


def numbers(count: int) -> list[bytes]:
    """As many different ones, six hexadecimal digits each, spread over all that there are."""
    return [b"%06x" % (number * 10_368_889 % (1 << 24)) for number in range(count)]  # an odd factor: none comes twice


def of_spans(spec: Spec, seen: Seen | None, resource: dict[str, Any] | None = None, **fields: Any) -> Flood:
    """A flood of one span, with further fields of OTLP."""
    request = traces([spec], SERVICE | (resource or {}))
    request.resource_spans[0].scope_spans[0].spans[0].MergeFrom(Span(**fields))
    return Flood(request, seen)


def of_scopes(seen: Seen | None, schema_url: str = "", **fields: Any) -> Flood:
    """A flood of scopes, with further fields of OTLP."""
    request = traces([faq()])
    scope = ScopeSpans(scope=InstrumentationScope(**fields), schema_url=schema_url)
    request.resource_spans[0].scope_spans[0].MergeFrom(scope)
    return Flood(request, seen)


def faq(**more: Any) -> Spec:
    """A span that counts as FAQ, with more attributes."""
    return Spec("lane.classify", {"lane": "faq", **more}, EXACT)


def server(**more: Any) -> Spec:
    """A refused request as a web framework tells it: the paths are what a stranger asked for."""
    paths = dict.fromkeys(["url.path", "url.full", "url.query", "http.target", "http.url", "user_agent.original"], V)
    request = {"http.request.method": "POST", "http.response.status_code": 401}
    return Spec("POST /000000", {**paths, **request, **more}, EXACT, FASTAPI, Span.SPAN_KIND_SERVER)


def texts(*keys: str) -> dict[str, str]:
    """A flood's value under each key, and a key that is one itself."""
    return dict.fromkeys([*keys, V], V)


REJECTED = Seen("webhook.request", {"endpoint": "/webhooks/evolution", "lane": "none", "status": "rejected"}, EXACT)
QUERY = Seen("db.query", {"operation": "other", "status": "success"}, EXACT)
OTHER = Seen("lane.classify", dict.fromkeys(CLOSED, "other"), EXACT)
LABELLED = Spec("lane.classify", texts(*CLOSED, "message_id", "http.response.status_code"), EXACT)
PROCESS = {"service.instance.id": "00000000-0000-4000-8000-000000000000"}
FAILED = Status(message=V, code=Status.STATUS_CODE_ERROR)
EVENT = Span.Event(name=V, attributes=attributes(texts("exception.type", "lane")))
LINK = Span.Link(trace_id=b"l" * 16, span_id=b"l" * 8, trace_state=V, attributes=attributes(texts("lane")))

FLOODS: dict[str, Flood] = {
    "attributes that are labels": of_spans(LABELLED, OTHER),
    "other attributes": of_spans(faq(**texts("patient", "session.id", "user.id", "job", "instance", "le")), FAQ),
    "forged families": of_spans(faq(**texts("family")), FAQ, texts("family")),
    "paths elsewhere": of_spans(server(**{"http.route": "/000000"}), None),
    "paths below the webhook": of_spans(
        server(**{"http.route": "/webhooks/evolution/{event}", "endpoint": "/webhooks/evolution/000000"}), REJECTED
    ),
    "names of own spans": of_spans(Spec("lane.classify.000000", {"lane": "faq"}), None),
    "names of queries": of_spans(Spec("SELECT000000", texts("operation", "status"), EXACT, ASYNCPG), QUERY),
    "sampling thresholds": of_spans(faq(), FAQ, trace_state="ot=th:f000000;rv:00000000000000"),
    "events": of_spans(faq(), FAQ, events=[EVENT]),
    "links and status messages": of_spans(faq(), FAQ, links=[LINK], status=FAILED),
    "scopes": of_scopes(FAQ, V, version=V, attributes=attributes(texts("lane", "family"))),
    "names of scopes": of_scopes(None, name="app.observability.000000"),
    "services": of_spans(faq(), None, {"service.name": "healthcare-backend-000000"}),
    "processes": of_spans(faq(), FAQ, {**PROCESS, "service.version": "1.000000"}),
    "attributes of the resource": of_spans(faq(), FAQ, texts(*CLOSED, "service.namespace", "host.name", "job", "le")),
}


def point(metric: Metric, **labels: Any) -> Metric:
    """The metric with one more point."""
    kind: Any = metric.sum if metric.HasField("sum") else metric.gauge
    kind.data_points.add(as_int=666, time_unix_nano=time.time_ns(), attributes=attributes(labels))
    return metric


def counter(name: str, **labels: Any) -> Metric:
    """A counter with one point."""
    metric = Metric(name=name, description=V, unit=V)
    metric.sum.is_monotonic = True
    metric.sum.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    return point(metric, **labels)


def of_metrics(*items: Metric, **resource: Any) -> Flood:
    """A flood of metrics, none of which adds to anything derived."""
    return Flood(metrics(items, SERVICE | {key.replace("_", "."): text for key, text in resource.items()}))


ALL_LABELS = texts(*SHIPPED.label_attributes, "job", "instance", "le")
GAUGE, LOST = (str(metric.source.instrument) for metric in SHIPPED.instruments.values())
ALIKE = ["webhook.requests", "webhook_requests_total", "webhook_request_duration_seconds", "span.calls"]

FLOODS |= {
    "names of metrics": of_metrics(counter("patients.000000"), counter("webhook_requests_000000_total")),
    "points of metrics named like derived ones": of_metrics(*(counter(name, **ALL_LABELS) for name in ALIKE)),
    "points of the two instruments": of_metrics(point(Metric(name=GAUGE), **ALL_LABELS), counter(LOST, reason=V)),
    "services of metrics": of_metrics(counter(LOST, reason="refused"), service_name="healthcare-backend-000000"),
    "ids of processes that are none": of_metrics(point(Metric(name=GAUGE)), service_instance_id=V),
}


@pytest.fixture(scope="module")
def bench(store: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The Collector under attack."""
    collector = Collector(tmp_path_factory.mktemp("attacked"), store.endpoint, interval="500ms")
    with collector.running():
        yield Bench(collector, store)


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_of_distinct_values_makes_no_series_and_no_count_wrong(bench: Bench, name: str) -> None:
    flood = FLOODS[name]
    lines = len(bench.collector.exposition().splitlines())
    added = bench.added_by(lambda: attack(bench.collector, flood))
    assert derived_only(added) == flooded_and_good(flood)
    after = bench.samples()
    assert len(derived_only(after)) <= MOST_SERIES
    assert instances(after) <= {"other"}
    rss = bench.collector.own_metrics()["otelcol_process_memory_rss"] / (1 << 20)
    print(f"{name}: {lines} → {len(bench.collector.exposition().splitlines())} lines, {rss:.0f} MiB")
    assert rss < MEMORY_LIMIT_MIB
    bench.store.requests.clear()


def attack(collector: Collector, flood: Flood) -> None:
    """One half over gRPC, one over HTTP; a sender of good spans before, amid and after."""
    path, of = (METRICS, "metrics") if "Metrics" in type(flood.template).__name__ else (TRACES, "traces")
    good = [traces(own([GOOD] * GOOD_EACH)).SerializeToString() for _ in range(3)]
    bodies = flood.bodies()
    half = len(bodies) // 2
    with grpc.insecure_channel(collector.grpc) as channel, ThreadPoolExecutor(AT_ONCE) as threads:
        spans, any_kind = channel.unary_unary(TRACES), channel.unary_unary(path)
        take(spans, good[0])
        sending = threads.map(lambda body: take(any_kind, body), bodies[:half])
        take(spans, good[1])
        list(sending)
        post_all(f"http://{collector.http}/v1/{of}", bodies[half:], "application/x-protobuf")
        take(spans, good[2])


def take(calls: Any, body: bytes) -> None:
    """Export over gRPC, again as long as the Collector says that it is too busy, which a slow machine may make it."""

    def is_taken() -> bool:
        code = export(calls, body)
        assert code in {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
        return code is grpc.StatusCode.OK

    until(is_taken, "the export is taken")


def post_all(url: str, bodies: Sequence[bytes | str], kind: str) -> None:
    """Export over HTTP, each as `take` does."""

    def is_taken(body: bytes | str) -> bool:
        code = client.post(url, content=body).status_code
        assert code in {httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE}
        return code == httpx.codes.OK

    headers = {"Content-Type": kind}
    with (
        httpx.Client(timeout=60, trust_env=False, headers=headers) as client,
        ThreadPoolExecutor(AT_ONCE) as threads,
    ):
        list(threads.map(lambda body: until(lambda: is_taken(body), "the export is taken"), bodies))


def flooded_and_good(flood: Flood) -> Samples:
    """What a flood and the good spans sent beside it add."""
    return dict(Counter(flood.counted()) + Counter(expected([GOOD] * 3 * GOOD_EACH)))


def derived_only(samples: Samples) -> Samples:
    """Without the two instruments, whose values are what a sender says."""
    return {key: value for key, value in samples.items() if key[0] not in SHIPPED.instruments}


def instances(samples: Samples) -> set[str]:
    """The processes that are shown."""
    return {dict(labels)["instance"] for name, labels in samples if name in SHIPPED.instruments}


IN_JSON = 20_000  # the protocol differs, what comes after it does not


def test_a_flood_in_json_makes_no_series_either(bench: Bench) -> None:
    def act() -> None:
        post_all(f"http://{bench.collector.http}/v1/traces", in_json(LABELLED), "application/json")

    assert bench.added_by(act) == Flood(traces([LABELLED]), OTHER, IN_JSON).counted()


def in_json(spec: Spec) -> list[str]:
    """A flood of the span, as OTLP writes JSON: ids in hexadecimal, enumerations as numbers."""
    request = MessageToDict(traces([spec]), use_integers_for_enums=True)
    scope = request["resourceSpans"][0]["scopeSpans"][0]
    one = json.dumps(scope["spans"][0] | {"traceId": spec.trace_id.hex(), "spanId": "ab" * 8})
    scope["spans"] = ["SPANS"]
    head, tail = json.dumps(request).split('"SPANS"')
    copies = [one.replace("000000", number.decode()) for number in numbers(IN_JSON)]
    each = A_REQUEST // len(one)
    return [head + ",".join(copies[start : start + each]) + tail for start in range(0, IN_JSON, each)]


def test_a_flood_of_well_formed_process_ids_still_fits_into_a_scrape(store: Sink, tmp_path: Path) -> None:
    """Beyond its limit Prometheus takes nothing at all."""
    points = [counter(LOST, reason=reason) for reason in ["queue_full", "buffer_full", "refused", "shutdown", V]]
    flood = Flood(metrics([point(Metric(name=GAUGE)), *points], SERVICE | PROCESS), copies=20_000)
    with Collector(tmp_path, store.endpoint, interval="500ms").running() as collector:
        bench = Bench(collector, store)
        added = bench.added_by(lambda: attack(collector, flood))
        assert derived_only(added) == flooded_and_good(flood)
        print(f"well-formed process ids: {len(collector.exposition().splitlines())} lines")
        assert len(bench.samples()) <= SCRAPE["sample_limit"] // 2


def test_spans_without_the_attributes_that_are_labels_make_no_series_without_labels(bench: Bench) -> None:
    every = sorted(SHIPPED.families)
    bare = [Spec("cache.get" if name == "cache.operation" else name, {"component": "cache"}, EXACT) for name in every]
    others = dict.fromkeys(SHIPPED.label_attributes, "other") | {"component": "cache"}
    assert bench.derive(traces(bare)) == expected([Seen(name, others, EXACT) for name in every])


def test_a_flood_of_allowed_values_in_all_combinations_shows_as_overflow_and_known_series_count_on(
    store: Sink, tmp_path: Path
) -> None:
    """Values of closed sets pass, and combined at will there are millions: here the Collector's own limit holds."""
    hit = Seen("cache.lookup", {"cache_type": "bundle", "result": "hit"}, EXACT)
    known = [GOOD, hit, Seen("mem0.write", {"status": "success"}, EXACT)]
    with Collector(tmp_path, store.endpoint).running() as collector:
        assert Bench(collector, store).derive(traces(own(known))) == expected(known)
        assert overflow(shown(collector)) == {}
        combined = combinations(20_000)
        for start in range(0, len(combined), 5_000):
            send(collector.grpc, traces(combined[start : start + 5_000]))
        before = until(lambda: all_counted(collector, len(combined)), "each is in its series or in the overflow")
        lost = overflow(before)
        assert lost["span_calls_total"] == lost["span_duration_seconds_count"] > len(combined) - 2_000
        assert len(before) <= MOST_SERIES + SAMPLES_OF["counter"] + SAMPLES_OF["histogram"]

        send(collector.grpc, traces(own([*known * 7, Seen("mem0.write", {"status": "dead"}, EXACT)])))
        until(lambda: overflow(shown(collector))["span_calls_total"] > lost["span_calls_total"], "a new one overflows")
        grown = added(shown(collector), before)
        assert {key: value for key, value in grown.items() if not is_overflow(key[1])} == expected(known * 7)
        assert overflow(grown)["span_calls_total"] == 1


def combinations(number: int) -> list[Spec]:
    """Spans that count as FAQ, with as many different combinations of what is allowed besides."""
    labels = ["status", "operation", "cache_type", "query_type", "component", "error_type"]
    sets = {("error.type" if label == "error_type" else label): sorted(SHIPPED.closed_set(label)) for label in labels}
    return [faq(**dict(zip(sets, values, strict=True))) for values in islice(product(*sets.values()), number)]


def shown(collector: Collector) -> Samples:
    """The exposition, whatever is in it."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in collector.families()
        for sample in family.samples
    }


def is_overflow(labels: frozenset[tuple[str, str]]) -> bool:
    """Whether the sample is what went beyond the limit."""
    return ("otel_metric_overflow", "true") in labels


def overflow(samples: Samples) -> dict[str, float]:
    """What went beyond the limit, by sample name, without buckets."""
    assert all(dict(labels)["job"] == JOB for _, labels in samples)
    return {
        name: value for (name, labels), value in samples.items() if is_overflow(labels) and "le" not in dict(labels)
    }


def all_counted(collector: Collector, wanted: int) -> Samples:
    """The exposition, once the FAQs and the overflow are as many; else empty."""
    samples = shown(collector)
    faqs = samples.get(("lane_classification_total", frozenset({("job", JOB), ("lane", "faq")})), 0)
    return samples if faqs + overflow(samples).get("span_calls_total", 0) == wanted else {}


def test_beyond_its_memory_the_collector_refuses_so_that_repeating_gets_everything_through(
    store: Sink, tmp_path: Path
) -> None:
    limits = ["processors::memory_limiter::limit_mib: 24", "processors::memory_limiter::check_interval: 100ms"]
    flood, spans_each = Flood(traces([faq(patient=V)]), FAQ), 2_000
    bodies = flood.bodies(spans_each * len(flood.template.SerializeToString()))
    answers: Counter[grpc.StatusCode] = Counter()

    def repeat_until_taken(body: bytes) -> None:
        while (code := export(calls, body)) is not grpc.StatusCode.OK:
            answers[code] += 1
            pause.wait(0.2)

    pause = threading.Event()
    with Collector(tmp_path, store.endpoint, changes=limits).running() as collector:
        bench = Bench(collector, store)
        with grpc.insecure_channel(collector.grpc) as channel, ThreadPoolExecutor(8) as threads:
            calls = channel.unary_unary(TRACES)
            list(threads.map(repeat_until_taken, bodies))
        until(lambda: added(bench.samples(), {}) == flood.counted(), "each is counted, once")
        assert set(answers) == {grpc.StatusCode.UNAVAILABLE}
        refused = collector.own_metrics()["otelcol_receiver_refused_spans"]
        assert refused == answers.total() * spans_each > 0


def export(calls: Any, body: bytes) -> grpc.StatusCode:
    """How the Collector answers."""
    try:
        calls(body, timeout=60)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK
