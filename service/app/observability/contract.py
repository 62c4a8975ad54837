"""The telemetry contract, `otel-collector/metrics.yaml`, as the service needs it: what may leave.

The service and the Collector hold the same list: this module reads the file that the tests compare with the
Collector's YAML.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_PACKAGED = Path(__file__).with_name("metrics.yaml")  # in an installed package only: pyproject.toml puts a copy there
PATH = _PACKAGED if _PACKAGED.exists() else Path(__file__).parents[3] / "otel-collector" / "metrics.yaml"

OTHER = "other"  # what a value outside of its closed set becomes, here and in the Collector

Value = str | int
Rule = Callable[[object], Value]

_ATTRIBUTE_OF_LABEL = {"error_type": "error.type"}  # all other labels have their attribute's name
_MAX_NAME = 64


@dataclass(frozen=True)
class ClosedSet:
    """The rule of an attribute whose values are listed: another value is `other`."""

    values: frozenset[str]

    def __call__(self, value: object) -> Value:
        return value if isinstance(value, str) and value in self.values else OTHER


@dataclass(frozen=True)
class Shown:
    """A documented metric as Prometheus shows it."""

    name: str
    type: str
    help: str
    pushed: bool
    """It is an instrument of ours, not made of spans."""

    @property
    def samples(self) -> tuple[str, ...]:
        """The names of its samples."""
        ends = ("_bucket", "_sum", "_count") if self.type == "histogram" else ("",)
        return tuple(self.name + end for end in ends)


class Contract:
    """The allow-list: closed sets of label values, rules for attributes, shapes of names; and what is made of them.

    Args:
        document: the parsed `metrics.yaml`.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.labels = _labels(document)
        self.shown = tuple(
            Shown(one["name"], one["type"], one["help"], "instrument" in one["source"]) for one in document["metrics"]
        )
        self.lanes = _values(document, "lane_classification_total", "lane")
        attributes = document["attributes"]
        self.span: dict[str, Rule] = {
            _ATTRIBUTE_OF_LABEL.get(label, label): ClosedSet(values) for label, values in self.labels.items()
        }
        self.span |= {key: _rule(rule) for key, rule in attributes["span"].items()}
        self.event: dict[str, Rule] = {key: _rule(rule) for key, rule in attributes["event"].items()}
        self.service_names = frozenset(attributes["resource"]["service.name"]["values"])
        self._name = re.compile("|".join(f"(?:{shape})" for shape in document["name_shapes"].values()))

    def name(self, name: object) -> str:
        """The name of a span, an event or a scope if its shape is allowed, else `other`."""
        if isinstance(name, str) and len(name) <= _MAX_NAME and self._name.fullmatch(name):
            return name
        return OTHER


@cache
def contract() -> Contract:
    """The contract of this checkout, image or installed package."""
    return Contract(yaml.safe_load(PATH.read_text("utf-8")))


def _labels(document: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Each label's closed set: the union over all metrics that carry it."""
    labels: dict[str, frozenset[str]] = {}
    for metric in document["metrics"]:
        for label in metric["labels"]:
            labels[label] = labels.get(label, frozenset()) | frozenset(_values(document, metric["name"], label))
    return labels


def _values(document: Mapping[str, Any], metric: str, label: str) -> list[str]:
    """A label's values in the file's order; a list within the list stands for its values."""
    [labels] = [one["labels"] for one in document["metrics"] if one["name"] == metric]
    return [value for item in labels[label] for value in (item if isinstance(item, list) else [item])]


def _rule(rule: Mapping[str, Any]) -> Rule:
    if "values" in rule:
        return ClosedSet(frozenset(rule["values"]))
    if rule.get("type") == "int":
        return _integer
    return _shape(re.compile(rule["pattern"]), re.compile(rule["without"]) if "without" in rule else None)


def _integer(value: object) -> Value:
    fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    return value if fits else 0  # type: ignore[return-value]


def _shape(pattern: re.Pattern[str], without: re.Pattern[str] | None) -> Rule:
    def rule(value: object) -> Value:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            return OTHER
        return OTHER if without and without.search(value) else value

    return rule
