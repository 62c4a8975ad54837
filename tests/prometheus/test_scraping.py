"""What the Collector derives reaches a real Prometheus: from the first event on, exactly, with exemplars and HELP."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.prometheus.monitored import Monitored
from tests.support.serving import serving
from tools.base.wait import until
from tools.model.expected import SHIPPED, Samples, Seen, expected, undocumented
from tools.stack.ports import Ports
from tools.stack.stack import Stack

EXACT = 1_953_125  # nanoseconds: 2⁻⁹ s, whose sums are exact
ERROR = {"component": "cache", "error.type": "timeout"}
REQUEST = {"endpoint": "/webhooks/evolution", "lane": "faq", "status": "success"}
FAMILIES = [
    Seen("webhook.request", REQUEST, EXACT),
    Seen("idempotency.check", {"result": "duplicate"}, EXACT),
    Seen("cache.operation", {"operation": "get", "cache_type": "bundle", "result": "hit", **ERROR}, EXACT),
    Seen("cache.lookup", {"cache_type": "catalog", "result": "miss"}, EXACT),
    Seen("context.hydrate", {}, EXACT),
    Seen("hydration.query", {"query_type": "slots"}, EXACT),
    Seen("lane.classify", {"lane": "faq"}, EXACT),
    Seen("db.query", {"operation": "select", "status": "success"}, EXACT),
    Seen("mem0.write", {"status": "success"}, EXACT),
    Seen("reply.send", {"status": "success"}, EXACT),
    Seen("delivery.keep", {"status": "ignored"}, EXACT),
]
FIRST = [seen for number, seen in enumerate(FAMILIES, start=1) for _ in range(number)]  # each family another number


@pytest.fixture(scope="module")
def first_events(monitored: Monitored) -> None:
    """The very first spans have been sent, and are counted."""
    until(lambda: monitored.api("query", query='up{job="otel-collector-derived"} == 1')["result"], "a first scrape")
    assert monitored.samples() == {}
    monitored.send(FIRST)
    until(lambda: without_zeros(monitored.samples()) == expected(FIRST), "they are counted", every=0.2)


def without_zeros(samples: Samples) -> Samples:
    """Buckets that nothing fell into are shown, too."""
    return {key: value for key, value in samples.items() if value}


@pytest.mark.usefixtures("first_events")
def test_the_first_events_are_counted_in_every_metric(monitored: Monitored) -> None:
    samples = monitored.samples()
    assert without_zeros(samples) == expected(FIRST)
    for name, labels in samples:
        assert undocumented(name, dict(labels)) == ""
    assert {SHIPPED.samples[name].name for name, _ in samples} == set(SHIPPED.derived)


@pytest.mark.usefixtures("first_events")
def test_every_series_begins_at_zero_so_that_its_first_events_are_an_increase(monitored: Monitored) -> None:
    assert monitored.history().items() >= {key: [0.0, value] for key, value in expected(FIRST).items()}.items()
    for name in {name for name, _ in expected(FIRST)}:
        rising = {labels for _, labels in monitored.query(f"increase({name}[2m]) > 0")}
        assert rising == {labels for sample, labels in expected(FIRST) if sample == name}


@pytest.mark.usefixtures("first_events")
def test_a_new_series_of_an_old_collector_begins_at_zero_too(monitored: Monitored) -> None:
    later = [Seen("lane.classify", {"lane": "complex"}, EXACT)] * 7
    before = monitored.samples()
    monitored.count(later)
    new = expected(later)
    assert not new.keys() & before.keys()
    assert monitored.history().items() >= {key: [0.0, value] for key, value in new.items()}.items()
    for metric in ("lane_classification_total", "classification_duration_seconds_count"):
        assert len(monitored.query(f'increase({metric}{{lane="complex"}}[2m]) > 0')) == 1


@pytest.mark.usefixtures("first_events")
def test_exemplars_are_the_traces_that_were_sent(monitored: Monitored) -> None:
    shown: dict[str, set[str]] = {name: set() for name in SHIPPED.derived}

    def every_metric_has_one() -> bool:
        found = monitored.api("query_exemplars", query='{job="healthcare-backend"}', start="0", end="9999999999")
        for series in found:
            name = SHIPPED.samples[series["seriesLabels"]["__name__"]].name
            shown[name] |= {exemplar["labels"]["trace_id"] for exemplar in series["exemplars"]}
            assert all(set(exemplar["labels"]) == {"trace_id", "span_id"} for exemplar in series["exemplars"])
        if not all(shown.values()):
            monitored.send(FAMILIES)  # an exemplar lives one flush, and the scrape may have been late
        return all(shown.values())

    until(every_metric_has_one, "every metric has an exemplar", every=1)
    assert all(traces <= monitored.sent for traces in shown.values())


@pytest.mark.usefixtures("first_events")
def test_types_and_help_texts_are_the_documented_ones(monitored: Monitored) -> None:
    known = monitored.api("metadata")
    shown = {name: [(entry["type"], entry["help"]) for entry in known[name]] for name in SHIPPED.derived}
    assert shown == {name: [(metric.type, metric.help)] for name, metric in SHIPPED.derived.items()}


@pytest.fixture
def recorded(monitored: Monitored, tmp_path: Path) -> Iterator[set[tuple[str, str]]]:
    """What a second Prometheus asks the Collector for, and the kind of the answer."""
    exchanges: set[tuple[str, str]] = set()

    async def pass_on(request: Request) -> Response:
        accept = request.headers["accept"]
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"http://{monitored.target}/metrics", headers={"Accept": accept})
        kind = answer.headers["content-type"]
        exchanges.add((accept, kind))
        return Response(answer.content, headers={"Content-Type": kind})

    with serving(Starlette(routes=[Route("/metrics", pass_on)])) as url:
        ports = replace(Ports.free(), collector_derived=int(url.rpartition(":")[2]))
        stack = Stack(tmp_path, ports)
        try:
            stack.start("prometheus")
            until(lambda: exchanges, "it has scraped")
            yield exchanges
        finally:
            stack.remove()


def test_prometheus_asks_for_protobuf_first_and_gets_it(recorded: set[tuple[str, str]]) -> None:
    [(accept, kind)] = recorded
    protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
    assert accept.startswith(protobuf)
    assert kind.replace(" ", "").startswith(protobuf)
