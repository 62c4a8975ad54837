"""Derived metrics beyond what the recorded workload shows: protocols, processes, exemplars' traces."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collector.bench import Bench, own
from tools.base.otlp import SERVICE, Spec, send, traces
from tools.base.otlp_sink import Sink
from tools.base.wait import until
from tools.model.expected import SHIPPED, Seen, expected, feeds
from tools.replay.collector import OPEN_METRICS, Collector, exemplars
from tools.replay.workload import label_sets

ERROR = {"component": "cache", "error.type": "timeout"}


def test_other_spans_are_stored_and_not_counted(bench: Bench) -> None:
    specs = [Spec("process_message"), Spec("SELECT", scope="opentelemetry.instrumentation.redis")]
    assert bench.derive(traces(specs)) == {}
    names = [span.name for span in bench.stored(*(spec.trace_id for spec in specs))]
    assert names == ["process_message", "SELECT"]


def test_a_name_is_a_family_in_the_own_scope_only(bench: Bench) -> None:
    assert bench.derive(traces([Spec("mem0.write", {"status": "success"}, scope="some.library")])) == {}


def test_both_protocols_count_the_same(bench: Bench) -> None:
    spans = [Seen("lane.classify", {"lane": "price"})]
    assert bench.derive(traces(own(spans)), http=False) == expected(spans)
    assert bench.derive(traces(own(spans)), http=True) == expected(spans)


def test_all_processes_count_into_one_series_without_traces_of_the_first(store: Sink, tmp_path: Path) -> None:
    spans = [Seen("lane.classify", {"lane": "complex"}, 3_000_000)]
    first = {"service.instance.id": "11111111-1111-1111-1111-111111111111", "service.version": "1.2.3"}
    second = {"service.instance.id": "22222222-2222-2222-2222-222222222222", "service.namespace": "prod"}
    requests = [traces(own(spans), {**SERVICE, **resource}) for resource in (first, second, {})]
    with Collector(tmp_path, store.endpoint).running() as fresh:
        assert Bench(fresh, store).derive(*requests) == expected(spans * 3)


@pytest.fixture
def unhurried(store: Sink, tmp_path: Path) -> Iterator[Collector]:
    """A Collector that shows an exemplar, which lives one flush, long enough to be seen."""
    with Collector(tmp_path, store.endpoint, interval="1s").running() as collector:
        yield collector


def test_every_derived_metric_carries_exemplars_of_its_own_traces(unhurried: Collector) -> None:
    spans = [Seen(family, {**label_sets(family, [SHIPPED])[0], **ERROR}) for family in sorted(SHIPPED.families)]
    spans += [Seen("idempotency.check", {"result": "duplicate"})]
    spans += [Seen("cache.lookup", {"cache_type": "bundle", "result": result}) for result in ("hit", "miss")]
    sent: dict[str, set[str]] = {name: set() for name in SHIPPED.derived}
    shown: dict[str, set[str]] = {name: set() for name in SHIPPED.derived}

    def all_have_one() -> bool:
        specs = own(spans)
        for spec, seen in zip(specs, spans, strict=True):
            for name, metric in SHIPPED.derived.items():
                if feeds(metric, seen):
                    sent[name].add(spec.trace_id.hex())
        send(unhurried.grpc, traces(specs))
        for name, exemplar in exemplars(unhurried.exposition(OPEN_METRICS)):
            shown[name].add(exemplar["trace_id"])
            assert set(exemplar) == {"trace_id", "span_id"}
        return all(shown.values())

    until(all_have_one, "every metric shows an exemplar")
    assert all(shown[name] <= sent[name] for name in SHIPPED.derived)
