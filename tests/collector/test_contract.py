"""The Collector's YAML and the contract say the same: closed sets, shapes, buckets, rows, help texts."""

import re
from itertools import pairwise
from typing import Any

import pytest
import yaml

from tests.collector.oracle import (
    BUCKETS,
    CONTRACT,
    DERIVED,
    INSTRUMENTS,
    METRICS,
    attribute,
    closed_set,
    families,
)
from tests.support.collector import CONFIG

YAML: dict[str, Any] = yaml.safe_load(CONFIG.read_text().replace("$$", "$"))
PROCESSORS: dict[str, Any] = YAML["processors"]
SPANS: list[dict[str, Any]] = PROCESSORS["transform/spans"]["trace_statements"]
ROWS: list[dict[str, Any]] = PROCESSORS["metrics_transform"]["transforms"]
LABELS = sorted({label for metric in DERIVED.values() for label in metric["labels"]})
RULES: dict[str, dict[str, Any]] = CONTRACT["attributes"]["span"]


def statements(context: str, condition: str = "") -> list[str]:
    """The statements of all groups of a context whose condition names something, or that have no condition."""
    groups = [group for group in SPANS if group["context"] == context]
    chosen = [
        group
        for group in groups
        if (condition in str(group.get("conditions")) if condition else "conditions" not in group)
    ]
    return [statement for group in chosen for statement in group["statements"]]


def strings(text: str) -> list[str]:
    """The string literals in a statement, with OTTL's escapes undone."""
    return [literal.replace("\\\\", "\\") for literal in re.findall(r'"((?:[^"\\]|\\.)*)"', text)]


def listed(text: str) -> set[str]:
    """The strings of the one list in a statement that is not an index."""
    [inside] = re.findall(r"[(\s]\[([^\]]*)\]", text)
    return set(strings(inside))


def the_one(found: list[str]) -> str:
    """The only element."""
    [only] = found
    return only


def clamp(key: str, context: str = "span") -> str:
    """The statement that rules an attribute: the only one that mentions it beside the allow-list."""
    texts = [text for text in statements(context) if not text.startswith("keep_keys")]
    return the_one([text for text in texts if f'["{key}"]' in text])


@pytest.mark.parametrize("label", LABELS)
def test_a_label_has_the_closed_set_of_the_contract(label: str) -> None:
    key = attribute(label)
    path = f'span.attributes["{key}"]'
    text = clamp(key)
    assert text.startswith(f'set({path}, "other") where {path} != nil and not ContainsValue([')
    assert listed(text) | {"other"} == closed_set(label)


@pytest.mark.parametrize("key", [key for key, rule in RULES.items() if "values" in rule])
def test_a_further_attribute_has_the_closed_set_of_the_contract(key: str) -> None:
    assert listed(clamp(key)) == set(RULES[key]["values"])


def test_only_the_attributes_of_the_contract_leave() -> None:
    allowed = CONTRACT["attributes"]
    kept = {
        context: listed(the_one([text for text in statements(context) if text.startswith("keep_keys")]))
        for context in ("resource", "scope", "span", "spanevent")
    }
    assert kept == {
        "resource": set(allowed["resource"]),
        "scope": set(),
        "span": {*map(attribute, LABELS), *RULES},
        "spanevent": set(allowed["event"]),
    }


def test_patterns_are_those_of_the_contract() -> None:
    for key, rule in CONTRACT["attributes"]["resource"].items():
        if "pattern" in rule:
            assert rule["pattern"] in strings(clamp(key, "resource"))
    assert {RULES["message_id"]["pattern"], RULES["message_id"]["without"]} <= set(strings(clamp("message_id")))
    [(key, rule)] = CONTRACT["attributes"]["event"].items()
    assert rule["pattern"] in strings(clamp(key, "spanevent"))


def test_names_have_the_shapes_of_the_contract() -> None:
    shapes = CONTRACT["name_shapes"]
    [span_names] = [text for text in statements("span") if text.startswith("set(span.name")]
    assert re.findall(r'IsMatch\(span\.name, "([^"]*)"\)', span_names) == list(shapes.values())
    for context in ("scope", "spanevent"):
        [names] = [text for text in statements(context) if text.startswith(f"set({context}.name")]
        assert re.findall(r'IsMatch\([a-z.]+, "([^"]*)"\)', names) == [shapes["own"]]
        assert "> 64" in names
    assert "> 64" in span_names


def test_only_the_services_of_the_contract_are_taken() -> None:
    [name] = CONTRACT["attributes"]["resource"]["service.name"]["values"]
    condition = f'resource.attributes["service.name"] != "{name}"'
    assert PROCESSORS["filter/services"]["trace_conditions"] == [condition]
    assert condition in PROCESSORS["filter/instruments"]["metric_conditions"]


def test_every_family_of_the_contract_is_set_and_no_other() -> None:
    named = {family for metric in DERIVED.values() for family in families(metric)}
    own_names, cache_names = statements("span", "app.observability")
    by_name = listed(own_names)
    assert by_name | {strings(cache_names)[1]} == named
    assert listed(cache_names) == {
        f"cache.{operation}" for operation in METRICS["cache_operation_duration_seconds"]["labels"]["operation"]
    }


def test_queries_have_the_operations_of_the_contract() -> None:
    [text] = [text for text in statements("span", "asyncpg") if "ContainsValue" in text]
    for name in ("database_queries_total", "database_query_duration_seconds"):
        assert listed(text) == set(METRICS[name]["labels"]["operation"])


def test_there_is_one_row_for_each_derived_metric_in_the_order_of_the_contract() -> None:
    assert [row["new_name"] for row in ROWS] == list(DERIVED)


@pytest.mark.parametrize("row", ROWS, ids=[row["new_name"] for row in ROWS])
def test_a_row_makes_the_metric_of_the_contract(row: dict[str, Any]) -> None:
    metric = METRICS[row["new_name"]]
    is_pattern = row.get("match_type") == "regexp"
    include = "span.duration" if metric["type"] == "histogram" else "span.calls"
    assert row["include"] == (f"^{re.escape(include)}$" if is_pattern else include)
    assert row["action"] == "insert"
    [operation] = row["operations"]
    labels = [attribute(label) for label in metric["labels"]]
    assert operation == {"action": "aggregate_labels", "aggregation_type": "sum", "label_set": labels}
    matched = row["experimental_match_labels"]
    source = metric["source"]
    assert set(matched) == ({source["attribute"]} if "attribute" in source else set(source))
    for key, pattern in matched.items():
        values = (
            {family for metric in DERIVED.values() for family in families(metric)}
            if key == "family"
            else closed_set_of(key)
        )
        found = {value for value in values if (re.search(pattern, value) if is_pattern else pattern == value)}
        assert found == (set(families(metric)) if key == "family" else {source.get(key)} if key in source else values)


def closed_set_of(key: str) -> set[str]:
    """The values that an attribute may have."""
    return set(RULES[key]["values"]) if key in RULES else set(closed_set(key))


def test_the_dimensions_are_what_rows_match_and_show() -> None:
    dimensions = [dimension["name"] for dimension in YAML["connectors"]["span_metrics"]["dimensions"]]
    matched = {key for row in ROWS for key in row["experimental_match_labels"]}
    assert len(dimensions) == len(set(dimensions))
    assert set(dimensions) == {*map(attribute, LABELS), *matched}


def test_the_buckets_are_the_ladder_of_the_contract() -> None:
    units = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
    found = [
        round(float(number) * units[unit], 9)
        for number, unit in (
            re.fullmatch(r"(\d+)(us|ms|s)", edge).groups()  # type: ignore[union-attr]
            for edge in YAML["connectors"]["span_metrics"]["histogram"]["explicit"]["buckets"]
        )
    ]
    assert found == BUCKETS
    assert all(lower < upper for lower, upper in pairwise(BUCKETS))


def test_every_target_and_threshold_of_a_duration_is_an_edge_with_a_finite_one_above() -> None:
    for metric in METRICS.values():
        if metric["type"] == "histogram":
            limits = [*metric.get("alert_thresholds", []), *([metric["target"]["below"]] if "target" in metric else [])]
            assert set(limits) <= set(BUCKETS[:-1]), metric["name"]


@pytest.mark.parametrize(
    ("processor", "metrics"), [("transform/derived", DERIVED), ("transform/instruments", INSTRUMENTS)]
)
def test_the_help_texts_are_those_of_the_contract(processor: str, metrics: dict[str, dict[str, Any]]) -> None:
    groups = PROCESSORS[processor]["metric_statements"]
    texts = [text for group in groups for text in group["statements"] if text.startswith("set(metric.description")]
    wanted = {metric["source"].get("instrument", name): metric["help"] for name, metric in metrics.items()}
    assert texts == [
        f'set(metric.description, "{text}") where metric.name == "{name}"' for name, text in wanted.items()
    ]


def test_the_instruments_are_those_of_the_contract() -> None:
    names = [metric["source"]["instrument"] for metric in INSTRUMENTS.values()]
    condition = PROCESSORS["filter/instruments"]["metric_conditions"][-1]
    assert re.findall(r'metric\.name == "([^"]*)"', condition) == names
    texts = [text for group in PROCESSORS["transform/instruments"]["metric_statements"] for text in group["statements"]]
    for metric in INSTRUMENTS.values():
        name = metric["source"]["instrument"]
        assert f'set(metric.unit, "{metric["unit"]}") where metric.name == "{name}"' in texts
    [reasons] = [text for text in texts if "ContainsValue" in text]
    assert listed(reasons) | {"other"} == closed_set("reason")


def test_a_span_is_counted_before_its_store_is_asked() -> None:
    pipeline = YAML["service"]["pipelines"]["traces"]
    assert pipeline["processors"] == ["memory_limiter", "filter/services", "transform/spans", "batch"]
    assert PROCESSORS["batch"] == {"timeout": "0s", "send_batch_size": 0}
    assert set(YAML["service"]["extensions"]) == set(YAML["extensions"])


def test_every_group_names_its_context_and_stops_at_an_error() -> None:
    for name, processor in PROCESSORS.items():
        if name.startswith(("transform", "filter")):
            assert processor["error_mode"] == "propagate"
        for group in processor.get("trace_statements", []) + processor.get("metric_statements", []):
            assert set(group) >= {"context", "statements"}
