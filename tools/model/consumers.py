"""Who needs which series: alerts, recording rules and panels, their PromQL read by a real parser.

Rules are in `prometheus/`, dashboards in `grafana/dashboards/`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import promql_parser as promql

from tools.base.files import Finding, SourceError, Sources, Yaml

RULES = ("prometheus/*.yaml", "prometheus/rules/*.yaml")
DASHBOARDS = ("grafana/dashboards/*.json",)

Kind = Literal["alert", "recording rule", "panel", "variable", "annotation"]
Operator = Literal["=", "!=", "=~", "!~"]

_OPERATORS: dict[str, Operator] = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}
_ANY = "_any_value_"  # what a variable of Grafana's stands for inside of a matcher
_GRAFANA = (
    (r"\$\{?__range_s\}?", "3600"),
    (r"\boffset \$\{?\w+\}?", "offset 5m"),
    (r"\[\$\{?\w+\}?(?=[\]:])", "[5m"),
    (r"\$\{\w+(:\w+)?\}|\$\w+|\[\[\w+\]\]", _ANY),
)
_LABEL_VALUES = re.compile(r"label_values\((?:(?P<selector>.+),)?\s*(?P<label>\w+)\s*\)")


@dataclass(frozen=True)
class Matcher:
    """One condition on a label."""

    label: str
    operator: Operator
    value: str

    def takes(self, value: str) -> bool:
        """Whether a series with this value (empty: without the label) is selected."""
        found = re.fullmatch(self.value, value) is not None if "~" in self.operator else self.value == value
        return found == (self.operator in ("=", "=~"))

    def __str__(self) -> str:
        return f'{self.label}{self.operator}"{self.value}"'


@dataclass(frozen=True)
class Use:
    """One selector in an expression: the sample, how it selects, and the labels that what is around it needs."""

    sample: str
    matchers: tuple[Matcher, ...]
    grouped: frozenset[str]
    """Labels named by `by`, `on` and `group_left` around it."""
    quantile: bool
    """Whether a quantile is computed of it, so that the edges of the buckets matter."""


@dataclass(frozen=True)
class Consumer:
    """An alert, a rule or a panel, with all that its expressions select."""

    kind: Kind
    name: str
    file: str
    line: int
    uses: tuple[Use, ...]
    records: str = ""
    """The name under which a recording rule writes its result."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def consumers(sources: Sources) -> list[Consumer]:
    """All there are.

    Raises:
        SourceError: a file or an expression cannot be parsed.
    """
    rules = [rule for path in sources.matching(*RULES) for rule in _rules(sources.yaml(path))]
    return rules + [found for path in sources.matching(*DASHBOARDS) for found in _dashboard(sources, path)]


def affected(found: Iterable[Consumer], samples: set[str]) -> dict[str, set[str]]:
    """The samples, and every recorded one that is computed of them, each with those of `samples` behind it."""
    behind = {sample: {sample} for sample in samples}
    rules = [consumer for consumer in found if consumer.records]
    grows = True
    while grows:
        grows = False
        for rule in rules:
            reached = set().union(*(behind.get(use.sample, set()) for use in rule.uses))
            if not reached <= behind.get(rule.records, set()):
                behind[rule.records] = behind.get(rule.records, set()) | reached
                grows = True
    return behind


def parse(expression: str) -> tuple[Use, ...]:
    """What an expression selects.

    Raises:
        ValueError: it is no PromQL.
    """
    return tuple(_uses(promql.parse(expression), frozenset(), quantile=False))


def _rules(document: Yaml) -> Iterator[Consumer]:
    if not isinstance(document.data, dict):
        return
    for number, group in enumerate(document.data.get("groups") or []):
        for index, rule in enumerate(group.get("rules") or []):
            name = rule.get("alert") or rule.get("record") or "?"
            where = ("groups", number, "rules", index, "expr")
            try:
                uses = parse(str(rule.get("expr", "")))
            except ValueError as error:
                raise SourceError(document.finding(f"{name}: no PromQL: {error}", *where)) from error
            kind: Kind = "alert" if "alert" in rule else "recording rule"
            yield Consumer(kind, name, document.path, document.line(*where), uses, rule.get("record", ""))


def _dashboard(sources: Sources, path: str) -> Iterator[Consumer]:
    text = sources.text(path)
    try:
        dashboard = json.loads(text)
    except json.JSONDecodeError as error:
        raise SourceError(Finding(path, error.lineno, f"no JSON: {error.msg}")) from error
    parts: list[tuple[Kind, str, list[str]]] = [
        ("panel", panel.get("title", "?"), [target["expr"] for target in panel.get("targets", []) if "expr" in target])
        for panel in _panels(dashboard)
    ]
    variables, annotations = (dashboard.get(part, {}).get("list", []) for part in ("templating", "annotations"))
    parts += [("variable", one.get("name", "?"), _queries(one.get("query"))) for one in variables]
    parts += [("annotation", one.get("name", "?"), _queries(one.get("expr"))) for one in annotations]
    for kind, name, expressions in parts:
        if expressions:
            line = _line(text, name)
            try:
                uses = tuple(use for expression in expressions for use in parse(_without_variables(expression)))
            except ValueError as error:
                raise SourceError(Finding(path, line, f"{kind} {name}: no PromQL: {error}")) from error
            yield Consumer(kind, name.removesuffix(" · lane: $lane"), path, line, uses)


def _panels(dashboard: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for panel in dashboard.get("panels", []):
        yield panel
        yield from _panels(panel)


def _queries(query: object) -> list[str]:
    """A variable's or an annotation's query as PromQL; `label_values(…)` is Grafana's own."""
    text = query.get("query", "") if isinstance(query, dict) else query
    if not isinstance(text, str) or not text:
        return []
    if match := _LABEL_VALUES.fullmatch(text.strip()):
        return [f"count by ({match['label']}) ({match['selector']})"] if match["selector"] else []
    return [text] if re.search(r"[a-z_]+[({]", text) else []  # a data source's type is no query


def _without_variables(expression: str) -> str:
    for pattern, replacement in _GRAFANA:
        expression = re.sub(pattern, replacement, expression)
    return expression


def _line(text: str, name: str) -> int:
    needle = json.dumps(name)
    return next((number for number, line in enumerate(text.splitlines(), 1) if needle in line), 0)


def _uses(node: Any, grouped: frozenset[str], *, quantile: bool) -> Iterator[Use]:
    kind = type(node).__name__
    if kind == "VectorSelector":
        matchers = [_matcher(item) for item in node.matchers.matchers]
        names = [matcher.value for matcher in matchers if matcher.label == "__name__" and matcher.operator == "="]
        sample = node.name or (names[0] if names else "")
        further = tuple(matcher for matcher in matchers if matcher.label != "__name__")
        yield Use(sample, further, grouped, quantile)
    elif kind == "MatrixSelector":
        yield from _uses(node.vector_selector, grouped, quantile=quantile)
    elif kind == "BinaryExpr":
        named = _labels(node.modifier.matching) | set(node.modifier.group_labels or []) if node.modifier else set()
        for side in (node.lhs, node.rhs):
            yield from _uses(side, grouped | named, quantile=quantile)
    elif kind == "AggregateExpr":
        yield from _uses(node.expr, grouped | _labels(node.modifier), quantile=quantile)
    elif kind == "Call":
        if node.func.name == "label_replace":  # a label made of another one
            _, made, _, of, _ = node.args
            grouped = grouped - {made.val} | {of.val} if made.val in grouped else grouped
        for argument in node.args:
            yield from _uses(argument, grouped, quantile=quantile or node.func.name.startswith("histogram_"))
    elif hasattr(node, "expr"):  # parentheses, a minus, a subquery
        yield from _uses(node.expr, grouped, quantile=quantile)


def _matcher(item: Any) -> Matcher:
    if _ANY in item.value:
        return Matcher(item.name, "=~", item.value.replace(_ANY, ".*"))
    return Matcher(item.name, _OPERATORS[str(item.op).rpartition(".")[2]], item.value)


def _labels(modifier: Any) -> set[str]:
    """The labels that `by` and `on` name; `without` and `ignoring` need none to be there."""
    if modifier is None or not str(modifier.type).endswith(("By", "Include")):
        return set()
    return set(modifier.labels)
