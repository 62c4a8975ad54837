"""The panels on what the real Collector makes of spans: the same names and labels; from a diamond to its very trace."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tools.base.otlp import FASTAPI, SERVICE, Spec, attributes, metrics, send, traces
from tools.base.wait import until
from tools.check.dashboard_samples import CONVERSATIONS, JOB, REQUESTS, WEBHOOK
from tools.check.dashboard_values import PANELS
from tools.model.contract import OTHER
from tools.model.dashboard import asked, legend, placeholders, shipped_dashboards
from tools.model.expected import SHIPPED
from tools.show.trace import STORES, fetch
from tools.stack.ports import HOST, Ports
from tools.stack.stack import Stack

MILLISECOND = 1_000_000
ROOT = "POST /webhooks/evolution"
RECORDED = {13, 15, 20, 21, 22}  # what rules write comes some minutes later, and has tests of its own
RECORDED_LINES = {("healthcare-backend", 2, "as alerted")}  # as above, beside lines that are of spans
ONE_STORE = {("healthcare-backend", 41): {"otlp_grpc"}, ("otel-collector", 4): {"otlp_grpc"}}
ONE_PROTOCOL = {("otel-collector", 1): {"grpc"}}
OF_TARGETS = {("otel-collector", number) for number in (5, 6, 7, 8)}  # named by ports, or by how much there is


@dataclass
class Live:
    """A Collector, a Prometheus and a trace store, and what they were sent."""

    stack: Stack
    client: httpx.Client
    sent: set[str] = field(default_factory=set)

    def api(self, path: str, **parameters: str) -> Any:
        """The data of an answer of Prometheus' API."""
        url = f"{self.stack.url('prometheus')}/api/v1/{path}"
        return self.client.get(url, params=parameters).raise_for_status().json()["data"]

    def send(self) -> None:
        """One trace of each kind of request, with all its steps; what a process pushes."""
        for number, (lane, status) in enumerate(sorted({*REQUESTS, *CONVERSATIONS})):
            if status != "other":
                request = one_trace(lane, status, (number + 1) * 37 * MILLISECOND)
                send(self._collector, request)
                span = request.resource_spans[0].scope_spans[0].spans[0]
                self.sent.add(span.trace_id.hex())
        self.tell()

    def tell(self) -> None:
        """What a process pushes every 5 seconds: a queue, and lost spans."""
        send(self._collector, metrics(instruments(), {**SERVICE, "service.instance.id": "0ab"}))

    @property
    def _collector(self) -> str:
        return f"{HOST}:{self.stack.ports.collector_grpc}"


def one_trace(lane: str, status: str, nanoseconds: int) -> ExportTraceServiceRequest:
    """A request and its steps, each a child of it and shorter than it."""
    said = {"http.route": WEBHOOK, "http.request.method": "POST", "lane": lane, "status": status}
    root = Spec(ROOT, said, nanoseconds, FASTAPI, Span.SPAN_KIND_SERVER)
    parts = [replace(spec, nanoseconds=nanoseconds // (number + 3)) for number, spec in enumerate(steps(lane, status))]
    request = traces([root, *(replace(spec, trace_id=root.trace_id) for spec in parts)])
    for scope in request.resource_spans[0].scope_spans:
        for span in scope.spans:
            if span.span_id != root.span_id:
                span.parent_span_id = root.span_id
    return request


def steps(lane: str, status: str) -> list[Spec]:
    """So that every series of the filled Prometheus is there, too."""
    lookups = [("bundle", "hit"), ("bundle", "miss"), ("catalog", "miss"), ("unknown", "hit")]
    queries = [("select", "success"), ("insert", "success"), ("commit", "success"), ("select", "error")]
    found = [Spec("idempotency.check", {"result": "duplicate" if status == "duplicate" else "new"})]
    found += [Spec("context.hydrate")]
    found += [Spec("hydration.query", {"query_type": one}) for one in ("patient", "history")]
    found += [Spec("cache.get", {"operation": "get", "cache_type": of, "result": result}) for of, result in lookups]
    found += [Spec("cache.set", {"operation": "set", "cache_type": "bundle"})]
    found += [Spec("lane.classify", {"lane": lane})] if lane != "none" else []
    found += [Spec("db.query", {"operation": operation, "status": ended}) for operation, ended in queries]
    for ended in ("success", "error", "dead"):
        found += [Spec("mem0.write", {"status": ended}), Spec("reply.send", {"status": ended})]
    found += [Spec("delivery.keep", {"status": ended}) for ended in ("ignored", "rejected")]
    errors = [("cache", "timeout"), ("database", "connection")]
    return found + [Spec("error.handled", {"component": where, "error.type": kind}) for where, kind in errors]


def instruments() -> list[Metric]:
    """The two that are no spans."""
    queue, lost = (
        Metric(name="mem0.write_queue_size", unit="{item}"),
        Metric(name="telemetry.spans.lost", unit="{span}"),
    )
    now = time.time_ns()
    queue.gauge.data_points.add(as_int=3, time_unix_nano=now)
    lost.sum.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    lost.sum.is_monotonic = True
    for reason in ("queue_full", "refused"):
        lost.sum.data_points.add(as_int=3, time_unix_nano=now, attributes=attributes({"reason": reason}))
    return [queue, lost]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """With the shipped files, and Tempo where it is at hand."""
    stack = Stack(tmp_path_factory.mktemp("live"), Ports.free())
    with httpx.Client(timeout=10, trust_env=False) as client:
        try:
            stack.up(only=("otel-collector", "prometheus", stack.store))
            yield Live(stack, client)
        finally:
            stack.remove()


def at_once(uid: str, panel: int) -> bool:
    """Whether what a panel shows is there with the spans."""
    return panel not in RECORDED and (uid, panel) not in OF_TARGETS


def shown(live: Live, uid: str) -> dict[int, dict[str, frozenset[str]]]:
    """The series of each panel: its name, and the labels that its name does not have."""
    [dashboard] = [one for one in shipped_dashboards() if one.uid == uid]
    found: dict[int, dict[str, frozenset[str]]] = {}
    for panel, target in dashboard.targets:
        line = (uid, panel["id"], target["legendFormat"])
        if at_once(uid, panel["id"]) and line not in RECORDED_LINES:
            series = found.setdefault(panel["id"], {})
            for one in live.api("query", query=asked(target["expr"], JOB))["result"]:
                series[legend(target, one["metric"])] = frozenset(one["metric"]) - placeholders(target)
    return found


def wanted(uid: str) -> dict[int, dict[str, frozenset[str]]]:
    """The same, of the filled Prometheus."""
    fewer = ONE_STORE | ONE_PROTOCOL
    return {
        panel: {
            name: frozenset(row.labels.split())
            for name, row in rows.items()
            if name in fewer.get((uid, panel), rows) and (uid, panel, name) not in RECORDED_LINES
        }
        for panel, rows in PANELS[uid].items()
        if at_once(uid, panel)
    }


@pytest.mark.parametrize("uid", PANELS)
def test_every_panel_shows_the_same_series_of_real_spans_as_of_the_filled_prometheus(live: Live, uid: str) -> None:
    live.send()

    def all_there() -> bool:
        live.tell()
        return shown(live, uid) == wanted(uid)

    try:
        until(all_there, "all series are there", every=1)
    except TimeoutError:
        assert shown(live, uid) == wanted(uid)


DIAMONDS = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['legendFormat']}")
    for dashboard in shipped_dashboards()
    for panel, target in dashboard.targets
    if target.get("exemplar")
]


@pytest.mark.parametrize("expression", DIAMONDS)
def test_each_diamond_leads_to_the_trace_of_the_very_span_that_it_shows(live: Live, expression: str) -> None:
    def diamonds() -> list[tuple[dict[str, str], dict[str, Any]]]:
        now = time.time()
        window = {"start": str(now - 3600), "end": str(now + 60)}
        series = live.api("query_exemplars", query=asked(expression, JOB), **window)
        found = [(one["seriesLabels"], exemplar) for one in series for exemplar in one["exemplars"]]
        if not found:
            live.send()  # an exemplar lives one flush, and the scrape may have been late
        return found

    for labels, exemplar in until(diamonds, "there is one", every=2):
        follow(live, labels, exemplar)


def follow(live: Live, labels: dict[str, str], exemplar: dict[str, Any]) -> None:
    """From a diamond to the span."""
    trace_id, span_id = exemplar["labels"]["trace_id"], exemplar["labels"]["span_id"]
    store = live.stack.url(live.stack.store) + STORES[live.stack.store]
    spans = until(lambda: fetch(trace_id, [store]), "the trace is stored", every=0.2)
    [span] = [one for one in spans if one.span_id == span_id]
    [root] = [one for one in spans if not one.parent_id]
    seconds = (span.end - span.start) / 1e9
    assert trace_id in live.sent
    assert root.name == ROOT
    assert seconds == pytest.approx(float(exemplar["value"]), abs=1e-9)
    assert edge_below(float(labels["le"])) < seconds <= float(labels["le"])
    for label in SHIPPED.samples[labels["__name__"]].labels:
        assert span.attributes.get(label, OTHER) == labels[label]  # a wrong value does not reach the store
    if labels["__name__"].startswith("webhook_"):
        assert (span, root.attributes["family"]) == (root, "webhook.request")  # what links to traces ask for


def edge_below(edge: float) -> float:
    """The lower edge of the bucket that ends there."""
    return next(lower for lower, upper in pairwise([0, *SHIPPED.buckets, float("inf")]) if upper == edge)
