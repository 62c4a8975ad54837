"""The metric contract, `otel-collector/metrics.yaml`: read, held against its schema, and asked what it says."""

import re
from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from tools.base.files import Finding, SourceError, Sources, Yaml

PATH = "otel-collector/metrics.yaml"
JOB = "healthcare-backend"
OTHER = "other"

Name = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$")]
Strict = ConfigDict(extra="forbid", frozen=True)
UNIT_ENDINGS = {"s": "_seconds", "By": "_bytes"}


def _listed(value: object) -> object:
    return value if isinstance(value, list) or value is None else [value]


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from error
    return pattern


class Source(BaseModel):
    """Where a metric comes from: families of spans, any span with an attribute, or an OpenTelemetry instrument.

    Further keys are attributes that a span must have with this very value to count.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    family: Annotated[list[str] | None, BeforeValidator(_listed)] = None
    attribute: str | None = None
    instrument: str | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if [self.family, self.attribute, self.instrument].count(None) != 2:
            raise ValueError("needs exactly one of family, attribute, instrument")
        return self

    @property
    def families(self) -> list[str]:
        """The families that it is made from; none if any span will do."""
        return self.family or []

    @property
    def required(self) -> dict[str, str]:
        """Attributes that must have this value."""
        return {key: str(value) for key, value in (self.model_extra or {}).items()}


class Target(BaseModel):
    """What a clinic expects: of a histogram a quantile in seconds, of others a rate a second, a share or a level."""

    model_config = Strict
    quantile: Annotated[float | None, Field(gt=0, lt=1)] = None
    of: Literal["rate", "share", "level"] | None = None
    below: Annotated[float | None, Field(gt=0)] = None
    above: Annotated[float | None, Field(gt=0)] = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if [self.quantile, self.of].count(None) != 1 or [self.below, self.above].count(None) != 1:
            raise ValueError("needs exactly one of quantile, of, and exactly one of below, above")
        return self

    @property
    def value(self) -> float:
        """What it is below or above of, in the metric's unit."""
        return self.below or self.above or 0.0

    @property
    def number(self) -> str:
        """The value as people read it."""
        if self.quantile:
            return seconds(self.value)
        return f"{self.value:.0%}" if self.of == "share" else f"{self.value:g}"

    def __str__(self) -> str:
        """As in "target: P95 below 500 ms"."""
        quantile = f"P{self.quantile * 100:g} " if self.quantile else ""
        return f"{quantile}{'below' if self.below else 'above'} {self.number}{' a second' * (self.of == 'rate')}"


class Metric(BaseModel):
    """One documented metric, as Prometheus shows it."""

    model_config = Strict
    name: Name
    type: Literal["counter", "gauge", "histogram"]
    unit: Annotated[str, Field(pattern=r"^(s|By|1|\{[a-z]+\})$")]
    help: Annotated[str, Field(min_length=1)]
    source: Source
    labels: dict[Name, Annotated[list[str], Field(min_length=1)]]
    target: Target | None = None
    alert_thresholds: list[Annotated[float, Field(gt=0)]] = []

    @field_validator("labels", mode="before")
    @classmethod
    def _flat(cls, labels: object) -> object:
        """A list within a list stands for its values: YAML cannot join lists."""
        return {label: flat(values) for label, values in labels.items()} if isinstance(labels, dict) else labels

    @field_validator("labels")
    @classmethod
    def _closed(cls, labels: dict[str, list[str]]) -> dict[str, list[str]]:
        for label, values in labels.items():
            if OTHER in values:
                raise ValueError(f"`{OTHER}` belongs to every set and is not listed ({label})")
            if len(set(values)) < len(values):
                raise ValueError(f"a value stands twice ({label})")
            if label in ("job", "instance", "le", "quantile"):
                raise ValueError(f"`{label}` is Prometheus' own label")
        return labels

    @model_validator(mode="after")
    def _named_as_prometheus_does(self) -> Self:
        if (self.type == "counter") != self.name.endswith("_total"):
            raise ValueError("counters, and only they, end in _total")
        ending = UNIT_ENDINGS.get(self.unit, "")
        if not self.name.removesuffix("_total").endswith(ending):
            raise ValueError(f"a metric in {self.unit} ends in {ending}")
        if self.type == "histogram" and self.source.instrument:
            raise ValueError("histograms are derived from spans, not measured by the service")
        if self.target and (self.type == "histogram") != bool(self.target.quantile):
            raise ValueError("the target of a histogram, and only of one, is a quantile")
        return self

    @property
    def samples(self) -> list[str]:
        """The names of its samples in the text format."""
        return _samples(self.name, self.type)

    @property
    def limits(self) -> list[float]:
        """Target and alert thresholds."""
        return [*([self.target.value] if self.target else []), *self.alert_thresholds]


class Health(BaseModel):
    """A metric of the pipeline's own health that rules, panels or runbooks use; its maker names and documents it."""

    model_config = Strict
    name: Name
    type: Literal["counter", "gauge", "histogram"]
    job: Annotated[str, Field(min_length=1)]
    labels: list[Name] = []
    use: Annotated[str, Field(min_length=1)]

    @property
    def samples(self) -> list[str]:
        """The names of its samples in the text format."""
        return _samples(self.name, self.type)


class AttributeRule(BaseModel):
    """Which values of an attribute may leave: these, those of a shape, or any integer."""

    model_config = Strict
    values: list[str] | None = None
    pattern: Annotated[str, BeforeValidator(_compiles)] | None = None
    without: Annotated[str, BeforeValidator(_compiles)] | None = None
    type: Literal["int"] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if [self.values, self.pattern, self.type].count(None) != 2:
            raise ValueError("needs exactly one of values, pattern, type")
        if self.without and not self.pattern:
            raise ValueError("`without` belongs to a pattern")
        return self


class Attributes(BaseModel):
    """What may leave beside labels."""

    model_config = Strict
    resource: dict[str, AttributeRule]
    span: dict[str, AttributeRule]
    event: dict[str, AttributeRule]

    @field_validator("resource")
    @classmethod
    def _one_service(cls, rules: dict[str, AttributeRule]) -> dict[str, AttributeRule]:
        name = rules.get("service.name")
        if not name or len(name.values or []) != 1:
            raise ValueError("service.name has to be there with the one name that the Collector takes")
        return rules


class Contract(BaseModel):
    """The whole file."""

    model_config = Strict
    buckets: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]
    metrics: Annotated[list[Metric], Field(min_length=1)]
    health: list[Health] = []
    attributes: Attributes
    name_shapes: dict[str, Annotated[str, BeforeValidator(_compiles)]]

    @field_validator("buckets")
    @classmethod
    def _ascending(cls, buckets: list[float]) -> list[float]:
        for lower, upper in pairwise(buckets):
            if lower >= upper:
                raise ValueError(f"{upper:g} stands after {lower:g}: edges ascend")
        return buckets

    @cached_property
    def by_name(self) -> dict[str, Metric]:
        """All documented metrics."""
        return {metric.name: metric for metric in self.metrics}

    @cached_property
    def derived(self) -> dict[str, Metric]:
        """Those that the Collector makes of spans."""
        return {name: metric for name, metric in self.by_name.items() if not metric.source.instrument}

    @cached_property
    def instruments(self) -> dict[str, Metric]:
        """Those that the service measures."""
        return {name: metric for name, metric in self.by_name.items() if metric.source.instrument}

    @cached_property
    def samples(self) -> dict[str, Metric]:
        """The metric of each sample's name."""
        return {sample: metric for metric in self.metrics for sample in metric.samples}

    @cached_property
    def health_samples(self) -> dict[str, Health]:
        """The health metric of each sample's name."""
        return {sample: health for health in self.health for sample in health.samples}

    @cached_property
    def families(self) -> set[str]:
        """All families that feed a metric."""
        return {family for metric in self.metrics for family in metric.source.families}

    @cached_property
    def label_attributes(self) -> list[str]:
        """The span attributes that become labels."""
        return sorted({attribute(label) for metric in self.derived.values() for label in metric.labels})

    def closed_set(self, label: str) -> set[str]:
        """A label's values: those of all metrics that have it, because they share the attribute, and `other`."""
        return {OTHER}.union(*(metric.labels.get(label, []) for metric in self.metrics))

    def values(self, key: str) -> set[str]:
        """The values that a span's attribute may have: its rule's, or those of its label with `other`."""
        rule = self.attributes.span.get(key)
        return set(rule.values or []) if rule else self.closed_set(label_of(key))

    def own_labels(self, sample: str) -> set[str]:
        """The names of all labels that a sample has in Prometheus."""
        metric = self.samples[sample]
        further = {"instance"} if metric.source.instrument else {"le"} if sample.endswith("_bucket") else set()
        return {"job", *further, *metric.labels}


def flat(values: object) -> object:
    """A list with the lists within it written out; anything else as it is."""
    if not isinstance(values, list):
        return values
    return [one for value in values for one in (value if isinstance(value, list) else [value])]


def seconds(number: float) -> str:
    """As in "500 ms" or "2 s"."""
    return f"{number:g} s" if number >= 1 else f"{number * 1000:g} ms"


def attribute(label: str) -> str:
    """The span attribute from which a label is made."""
    return "error.type" if label == "error_type" else label


def label_of(key: str) -> str:
    """The label that is made from a span's attribute."""
    return "error_type" if key == "error.type" else key


def _samples(name: str, kind: str) -> list[str]:
    return [name + end for end in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))]


def load(sources: Sources) -> Contract:
    """The contract of a version of the repository.

    Raises:
        SourceError: it is no YAML or not of the schema; each finding has its line.
    """
    return parse(sources.yaml(PATH))


def parse(document: Yaml) -> Contract:
    """The contract in a YAML file. Raises SourceError as `load`."""
    try:
        contract = Contract.model_validate(document.data)
    except ValidationError as error:
        raise SourceError(*(_finding(document, dict(problem)) for problem in error.errors())) from error
    if findings := [
        *_ambiguous(document, contract),
        *_off_edges(document, contract),
        *_disagreeing(document, contract),
    ]:
        raise SourceError(*findings)
    return contract


def _finding(document: Yaml, problem: Mapping[str, Any]) -> Finding:
    """A schema error in the words of the file: what it is about, what is wrong, what stands there."""
    keys = [key for key in problem["loc"] if key != "function-before[_compiles(), str]"]
    place = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")
    if keys[:1] == ["metrics"] and len(keys) > 1 and isinstance(keys[1], int):
        entry = document.data["metrics"][keys[1]]
        if isinstance(entry, dict) and entry.get("name"):
            place = f"{entry['name']}{''.join(f'.{key}' for key in keys[2:])}"
    what = {"missing": "is missing", "extra_forbidden": "is no key of this place (misspelt?)"}.get(
        problem["type"], problem["msg"].removeprefix("Value error, ")
    )
    given = problem["input"]
    shown = f", here: {given!r}" if isinstance(given, str | int | float) and problem["type"] != "missing" else ""
    return document.finding(f"{place or 'the file'}: {what}{shown}", *keys)


def _ambiguous(document: Yaml, contract: Contract) -> list[Finding]:
    """A name can have one meaning only."""
    seen: set[str] = set()
    findings = []
    for number, metric in enumerate(contract.metrics):
        for sample in metric.samples:
            if sample in seen:
                findings.append(document.finding(f"{sample} is documented twice", "metrics", number, "name"))
            seen.add(sample)
    for number, health in enumerate(contract.health):
        if health.name in seen:
            findings.append(document.finding(f"{health.name} is documented twice", "health", number, "name"))
        seen.add(health.name)
    return findings


def _off_edges(document: Yaml, contract: Contract) -> list[Finding]:
    """A quantile can be compared with an edge only, and one that falls into +Inf is the highest finite edge."""
    return [
        document.finding(
            f"{metric.name}: {limit:g} s has to be one of `buckets`, with a higher one above, else an alert on it is "
            "wrong or never fires",
            "metrics",
            number,
            "alert_thresholds" if limit in metric.alert_thresholds else "target",
        )
        for number, metric in enumerate(contract.metrics)
        if metric.type == "histogram"
        for limit in metric.limits
        if limit not in contract.buckets[:-1]
    ]


def _disagreeing(document: Yaml, contract: Contract) -> list[Finding]:
    """Metrics of the same spans have the same values of the same label."""
    first: dict[tuple[str, str], tuple[str, set[str]]] = {}
    findings = []
    for number, metric in enumerate(contract.metrics):
        for family in metric.source.families:
            for label, values in metric.labels.items():
                other, known = first.setdefault((family, label), (metric.name, set(values)))
                if differing := sorted(known ^ set(values)):
                    text = (
                        f"{metric.name}: {label} differs from {other}'s, made of the same spans: {', '.join(differing)}"
                    )
                    findings.append(document.finding(text, "metrics", number, "labels", label))
    return findings
