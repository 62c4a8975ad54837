"""What Prometheus must show for given spans, computed from the contract alone and never from the Collector's YAML."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tools.base.files import Sources
from tools.model.contract import JOB, OTHER, Contract, Metric, attribute, load

SHIPPED = load(Sources.of_disk())

Labels = frozenset[tuple[str, str]]
Samples = dict[tuple[str, Labels], float]


@dataclass(frozen=True)
class Seen:
    """A span as the metrics must see it: its family, if any, its attributes, its duration."""

    family: str
    attributes: Mapping[str, str]
    nanoseconds: int = 1_000_000


def feeds(metric: Metric, seen: Seen) -> bool:
    """Whether the span counts for the metric."""
    if needed := metric.source.attribute:
        return needed in seen.attributes
    return seen.family in metric.source.families and metric.source.required.items() <= seen.attributes.items()


def expected(spans: Iterable[Seen], contract: Contract = SHIPPED) -> Samples:
    """All samples that are not zero, bucket by bucket; sums to the nanosecond."""
    samples: Counter[tuple[str, Labels]] = Counter()
    for seen in spans:
        for metric in (metric for metric in contract.derived.values() if feeds(metric, seen)):
            labels = {label: seen.attributes.get(attribute(label), OTHER) for label in metric.labels} | {"job": JOB}
            for name, further, value in _samples(metric, contract.buckets, seen.nanoseconds):
                samples[name, frozenset((labels | further).items())] += value
    return {(name, labels): _seconds(name, value) for (name, labels), value in samples.items() if value}


def added(after: Samples, before: Samples) -> Samples:
    """What came between two expositions, without the samples that did not move."""
    changes = {key: round(value - before.get(key, 0), 9) for key, value in after.items()}
    return {key: change for key, change in changes.items() if change}


def undocumented(sample: str, labels: Mapping[str, str], contract: Contract = SHIPPED) -> str:
    """What is not the contract's about a sample: its name, the names of its labels or their values; empty if all is."""
    if sample not in contract.samples:
        return f"{sample} is not in the contract"
    if set(labels) != contract.own_labels(sample):
        return f"{sample} has the labels {sorted(labels)}, not {sorted(contract.own_labels(sample))}"
    if labels["job"] != JOB:
        return f"{sample} has job={labels['job']}"
    wrong = [
        f"{label}={labels[label]}"
        for label in contract.samples[sample].labels
        if labels[label] not in contract.closed_set(label)
    ]
    return f"{sample} has {', '.join(wrong)}, outside of the closed set" if wrong else ""


def _samples(metric: Metric, buckets: list[float], nanoseconds: int) -> Iterable[tuple[str, dict[str, str], int]]:
    """What one span adds to one metric; sums are nanoseconds here, because they add up exactly."""
    name = metric.name
    if metric.type == "counter":
        return [(name, {}, 1)]
    edges = [edge for edge in [*buckets, float("inf")] if nanoseconds <= edge * 1e9]
    within = [(f"{name}_bucket", {"le": "+Inf" if edge == float("inf") else f"{edge:g}"}, 1) for edge in edges]
    return [(f"{name}_count", {}, 1), (f"{name}_sum", {}, nanoseconds), *within]


def _seconds(name: str, value: int) -> float:
    return round(value / 1e9, 9) if name.endswith("_sum") else value
