"""Every documented metric is derived from spans, exactly: counts, buckets, sums, labels, types, help, exemplars."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collector.bench import Bench, own
from tests.collector.oracle import BUCKETS, CONTRACT, DERIVED, METRICS, Seen, attribute, expected, families, feeds
from tests.support.collector import OPEN_METRICS, Collector
from tests.support.otlp import SERVICE, Spec, send, traces
from tests.support.otlp_sink import Sink
from tests.support.waiting import until

FAMILIES = sorted({family for metric in DERIVED.values() for family in families(metric)})
ERROR = {"component": "cache", "error.type": "timeout"}


def every_label_set(family: str) -> list[Seen]:
    """One span for each combination of label values that the family's metrics document, with results, and `other`."""
    sets: dict[str, set[str]] = {}
    for metric in DERIVED.values():
        if family in families(metric):
            for label, values in metric["labels"].items():
                sets.setdefault(attribute(label), {"other"}).update(values)
    if family == "cache.operation":  # the operation is in the span's name
        sets["operation"] -= {"other"}
    if family in {"cache.operation", "cache.lookup", "idempotency.check"}:
        sets["result"] = set(CONTRACT["attributes"]["span"]["result"]["values"])
    combinations = itertools.product(*(sorted(values) for values in sets.values()))
    milliseconds = itertools.cycle([0, 1, 7, 450, 1_000, 31_000])
    return [
        Seen(family, dict(zip(sets, values, strict=True)), next(milliseconds) * 1_000_000) for values in combinations
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_counted_exactly_by_every_label_set(bench: Bench, family: str) -> None:
    spans = [seen for number, seen in enumerate(every_label_set(family)) for _ in range(number % 3 + 1)]
    assert bench.derive(traces(own(spans))) == expected(spans)


def test_a_duration_on_an_edge_belongs_to_its_bucket_and_one_nanosecond_more_to_the_next(bench: Bench) -> None:
    edges = [round(edge * 1e9) for edge in BUCKETS]
    spans = [Seen("context.hydrate", {}, edge + step) for edge in edges for step in (-1, 0, 1)]
    assert bench.derive(traces(own(spans))) == expected(spans)


def test_targets_and_thresholds_separate_good_from_bad_exactly(bench: Bench) -> None:
    spans = []
    for metric in (metric for metric in DERIVED.values() if metric["type"] == "histogram"):
        limits = [*metric.get("alert_thresholds", []), *([metric["target"]["below"]] if "target" in metric else [])]
        attributes = every_label_set(families(metric)[0])[0].attributes
        durations = [round(limit * 1e9) + step for limit in limits for step in (-1, 0, 1)]
        spans += [Seen(families(metric)[0], attributes, duration) for duration in durations]
    assert len(spans) == 3 * 8
    assert bench.derive(traces(own(spans))) == expected(spans)


def test_an_error_is_counted_once_where_it_was_handled_whatever_the_span(bench: Bench) -> None:
    sets = METRICS["errors_total"]["labels"]
    pairs = itertools.product([*sets["error_type"], "other"], [*sets["component"], "other"])
    anywhere = [Seen("process_message", {"error.type": kind, "component": component}) for kind, component in pairs]
    in_families = [
        Seen("mem0.write", {"status": "error", **ERROR}),
        Seen("context.hydrate", ERROR),
        Seen("cache.lookup", {"cache_type": "bundle", "result": "miss", **ERROR}),
    ]
    parents = [Seen("webhook_chain", {}), Seen("lane.classify", {"lane": "faq"})]
    spans = [*anywhere, *in_families, *parents]
    assert bench.derive(traces(own(spans))) == expected(spans)


def test_an_error_type_without_a_component_is_no_error(bench: Bench) -> None:
    assert bench.derive(traces([Spec("process_message", {"error.type": "timeout"}, failed=True)])) == {}


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


def test_types_and_help_texts_are_the_documented_ones(bench: Bench) -> None:
    everything = [seen for family in FAMILIES for seen in every_label_set(family)]
    bench.derive(traces(own([*everything, Seen("process_message", ERROR)])))
    shown = {
        (family.name + "_total" if family.type == "counter" else family.name): (family.type, family.documentation)
        for family in bench.collector.families()
    }
    assert len(shown) == len(bench.collector.families())
    assert shown == {name: (metric["type"], metric["help"]) for name, metric in DERIVED.items()}


def test_all_processes_count_into_one_series_without_traces_of_the_first(store: Sink, tmp_path: Path) -> None:
    spans = [Seen("lane.classify", {"lane": "complex"}, 3_000_000)]
    first = {"service.instance.id": "11111111-1111-1111-1111-111111111111", "service.version": "1.2.3"}
    second = {"service.instance.id": "22222222-2222-2222-2222-222222222222", "service.namespace": "prod"}
    requests = [traces(own(spans), {**SERVICE, **resource}) for resource in (first, second, {})]
    with Collector(tmp_path, store.endpoint).running() as fresh:
        assert Bench(fresh, store).derive(*requests) == expected(spans * 3)


EXEMPLAR = re.compile(r"^(?P<name>\w+){.*} \S+ # {(?P<ids>.*)} \S+ \S+$")
PAIR = re.compile(r'(\w+)="(.*?)"')


@pytest.fixture
def unhurried(store: Sink, tmp_path: Path) -> Iterator[Collector]:
    """A Collector that shows an exemplar, which lives one flush, long enough to be seen."""
    with Collector(tmp_path, store.endpoint, interval="1s").running() as collector:
        yield collector


def test_every_derived_metric_carries_exemplars_of_its_own_traces(unhurried: Collector) -> None:
    spans = [every_label_set(family)[0] for family in FAMILIES]
    spans = [Seen(seen.family, {**seen.attributes, **ERROR}) for seen in spans]
    spans += [Seen("idempotency.check", {"result": "duplicate"})]
    spans += [Seen("cache.lookup", {"cache_type": "bundle", "result": result}) for result in ("hit", "miss")]
    sent: dict[str, set[str]] = {name: set() for name in DERIVED}
    shown: dict[str, set[str]] = {name: set() for name in DERIVED}

    def all_have_one() -> bool:
        specs = own(spans)
        for spec, seen in zip(specs, spans, strict=True):
            for name, metric in DERIVED.items():
                if feeds(metric, seen):
                    sent[name].add(spec.trace_id.hex())
        send(unhurried.grpc, traces(specs))
        for name, exemplar in exemplars(unhurried.exposition(OPEN_METRICS)):
            shown[name].add(exemplar["trace_id"])
            assert set(exemplar) == {"trace_id", "span_id"}
        return all(shown.values())

    until(all_have_one, "every metric shows an exemplar")
    assert all(shown[name] <= sent[name] for name in DERIVED)


def exemplars(exposition: str) -> list[tuple[str, dict[str, str]]]:
    """Metric and ids of each exemplar; the library's own parser trips over their timestamps."""
    matches = filter(None, map(EXEMPLAR.match, exposition.splitlines()))
    return [(match["name"].removesuffix("_bucket"), dict(PAIR.findall(match["ids"]))) for match in matches]
