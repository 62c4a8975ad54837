"""What Prometheus must show for given spans, computed from the contract alone and never from the Collector's YAML."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

CONTRACT: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "otel-collector" / "metrics.yaml").read_text())
METRICS: dict[str, dict[str, Any]] = {metric["name"]: metric for metric in CONTRACT["metrics"]}
DERIVED = {name: metric for name, metric in METRICS.items() if "instrument" not in metric["source"]}
INSTRUMENTS = {name: metric for name, metric in METRICS.items() if "instrument" in metric["source"]}
SAMPLES = {
    name + end: metric
    for name, metric in METRICS.items()
    for end in (["_bucket", "_sum", "_count"] if metric["type"] == "histogram" else [""])
}
BUCKETS: list[float] = CONTRACT["buckets"]
JOB = "healthcare-backend"

Labels = frozenset[tuple[str, str]]
Samples = dict[tuple[str, Labels], float]


@dataclass(frozen=True)
class Seen:
    """A span as the metrics must see it: its family, if any, its attributes, its duration."""

    family: str
    attributes: Mapping[str, str]
    nanoseconds: int = 1_000_000


def attribute(label: str) -> str:
    """The span attribute from which a label is made."""
    return "error.type" if label == "error_type" else label


@cache
def closed_set(label: str) -> frozenset[str]:
    """A label's values: those of all metrics that have it, because they share the attribute, and `other`."""
    return frozenset({"other"}).union(*(metric["labels"].get(label, []) for metric in METRICS.values()))


def families(metric: Mapping[str, Any]) -> list[str]:
    """The families that a metric is made from; none if any span will do."""
    found = metric["source"].get("family", [])
    return found if isinstance(found, list) else [found]


def feeds(metric: Mapping[str, Any], seen: Seen) -> bool:
    """Whether the span counts for the metric."""
    if needed := metric["source"].get("attribute"):
        return needed in seen.attributes
    wanted = {key: value for key, value in metric["source"].items() if key != "family"}
    return seen.family in families(metric) and wanted.items() <= seen.attributes.items()


def expected(spans: Iterable[Seen]) -> Samples:
    """All samples that are not zero, bucket by bucket; sums to the nanosecond."""
    samples: Counter[tuple[str, Labels]] = Counter()
    for seen in spans:
        for metric in (metric for metric in DERIVED.values() if feeds(metric, seen)):
            labels = {label: seen.attributes[attribute(label)] for label in metric["labels"]} | {"job": JOB}
            for name, further, value in _samples(metric, seen.nanoseconds):
                samples[name, frozenset((labels | further).items())] += value
    return {(name, labels): _seconds(name, value) for (name, labels), value in samples.items() if value}


def difference(after: Samples, before: Samples) -> Samples:
    """What came between two expositions, without the samples that did not move."""
    changes = {key: round(value - before.get(key, 0), 9) for key, value in after.items()}
    return {key: change for key, change in changes.items() if change}


def assert_documented(sample: str, labels: Mapping[str, str]) -> None:
    """The name, the names of the labels and their values are the contract's, and none is missing."""
    assert sample in SAMPLES
    metric = SAMPLES[sample]
    own = ["instance"] if sample in INSTRUMENTS else ["le"] if sample.endswith("_bucket") else []
    assert set(labels) == {"job", *own, *metric["labels"]}, sample
    assert labels["job"] == JOB
    for label in metric["labels"]:
        assert labels[label] in closed_set(label), sample


def _samples(metric: Mapping[str, Any], nanoseconds: int) -> Iterable[tuple[str, dict[str, str], int]]:
    """What one span adds to one metric; sums are nanoseconds here, because they add up exactly."""
    name = metric["name"]
    if metric["type"] == "counter":
        return [(name, {}, 1)]
    edges = [edge for edge in [*BUCKETS, float("inf")] if nanoseconds <= edge * 1e9]
    buckets = [(f"{name}_bucket", {"le": "+Inf" if edge == float("inf") else f"{edge:g}"}, 1) for edge in edges]
    return [(f"{name}_count", {}, 1), (f"{name}_sum", {}, nanoseconds), *buckets]


def _seconds(name: str, value: int) -> float:
    return round(value / 1e9, 9) if name.endswith("_sum") else value
