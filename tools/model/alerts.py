"""The alerts as people read them: severity, limit, windows, guard and target, each taken out of the rule."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, Literal

import promql_parser as promql

from tools.base.files import Sources
from tools.base.words import OneOf
from tools.model.consumers import RULES, Consumer, affected
from tools.model.contract import Contract, Target, seconds

Kind = Literal["rate", "share", "level", "seconds", "budget"]
"""Of what a limit is: `budget` is how often more than allowed an objective is missed."""

_WORDS = {">": "above", ">=": "at least", "<": "below", "<=": "at most"}
_RECORDED = re.compile(r"(?:rate|increase)(\d+)([smhd])$")
_TIMEDELTA = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_UNITS = {"s": "s", "m": "min", "h": "h", "d": "d"}


@dataclass(frozen=True)
class Limit:
    """What an expression compares with; none where it compares with 0 or with nothing."""

    operator: str
    value: float
    kind: Kind
    of: str = ""
    """The quantile, or the unit of a level."""

    @property
    def number(self) -> str:
        """The value as people read it."""
        if self.kind == "seconds":
            return seconds(self.value)
        if self.of == "bytes":
            return f"{self.value / 2**20:g} MiB"
        return f"{self.value * 100:g}%" if self.kind == "share" else f"{self.value:g}"

    @property
    def words(self) -> str:
        """As in "P95 above 2 s"."""
        after = {"rate": " a second", "budget": " × the budget's rate"}.get(self.kind, "")
        before = f"{self.of} " if self.kind == "seconds" else ""
        return f"{before}{_WORDS[self.operator]} {self.number}{after}"


@dataclass(frozen=True)
class Alert:
    """One alerting rule."""

    rule: Mapping[str, Any]
    file: str
    line: int

    @property
    def name(self) -> str:
        """Its name, which is its runbook's too."""
        return str(self.rule["alert"])

    @property
    def severity(self) -> str:
        """critical, warning, info or none."""
        return str(self.rule.get("labels", {}).get("severity", "none"))

    @property
    def summary(self) -> str:
        """What is wrong, in a sentence without a full stop; labels are named."""
        return re.sub(r"\{\{ \$labels\.(\w+) \}\}", r"`\1`", self._annotation("summary"))

    @property
    def description(self) -> str:
        """What a notification says."""
        return self._annotation("description")

    @property
    def runbook(self) -> str:
        """The address of its page."""
        return self._annotation("runbook_url")

    def _annotation(self, name: str) -> str:
        return str(self.rule.get("annotations", {}).get(name, ""))

    @property
    def wait(self) -> str:
        """How long it has to hold, as in "5 min"."""
        return _duration(str(self.rule.get("for", "0m")))

    @cached_property
    def _tree(self) -> Any:
        return promql.parse(str(self.rule["expr"]))

    @cached_property
    def limit(self) -> Limit | None:
        """What its first condition compares with."""
        node = _bare(self._tree)
        while _is(node, "and", "or", "unless"):
            node = _bare(node.lhs)
        if not _is(node, *_WORDS):
            return None
        value = _bare(node.rhs)
        if _is(value, "*") and (times := _number(value.lhs)):
            return Limit(str(node.op), times, "budget")
        return Limit(str(node.op), _number(value), *_kind(node.lhs)) if _number(value) else None

    @cached_property
    def guard(self) -> int:
        """How many events have to be in the window; 0 if it has no guard."""
        tree = _bare(self._tree)
        last = _bare(tree.rhs) if _is(tree, "and") else None
        return int(_number(last.rhs)) if last is not None and _is(last, ">=") else 0

    @cached_property
    def looks_back(self) -> list[timedelta]:
        """Over how long; of recorded series by their names."""
        found = []
        for node in _nodes(self._tree):
            if type(node).__name__ == "MatrixSelector":
                found.append(node.range)
            elif match := _RECORDED.search(getattr(node, "name", None) or ""):
                found.append(timedelta(**{_TIMEDELTA[match[2]]: int(match[1])}))
        return list(dict.fromkeys(found))

    @property
    def windows(self) -> list[str]:
        """The same as people read it, as in "5 min"."""
        return [_shown(one) for one in self.looks_back]


def alerts(sources: Sources) -> list[Alert]:
    """All of the rule files, in their order. Raises SourceError."""
    return [Alert(rule, path, line) for path, line, rule in _rules(sources) if "alert" in rule]


def targets(found: list[Alert], contract: Contract, users: list[Consumer]) -> dict[str, Target]:
    """By alert: the target of the metric whose quantile, rate or share it compares."""
    asked = {user.name: {use.sample for use in user.uses} for user in users if user.kind == "alert"}
    of: dict[str, Target] = {}
    for metric in contract.metrics:
        if target := metric.target:
            reached = affected(users, set(metric.samples)).keys()
            kind = "seconds" if target.quantile else target.of
            of |= {
                one.name: target
                for one in found
                if one.limit and one.limit.kind == kind and asked.get(one.name, set()) & reached
            }
    return of


def objectives(sources: Sources) -> dict[str, float]:
    """The share of the messages that each objective asks for, by its name."""
    return {
        rule["labels"]["slo"]: float(str(rule["expr"]).removeprefix("vector(").removesuffix(")"))
        for _, _, rule in _rules(sources)
        if rule.get("record") == "slo:objective:ratio"
    }


def _rules(sources: Sources) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    for document in map(sources.yaml, sources.matching(*RULES)):
        for number, group in enumerate((document.data or {}).get("groups") or []):
            for index, rule in enumerate(group.get("rules") or []):
                yield document.path, document.line("groups", number, "rules", index), rule


def _kind(node: Any) -> tuple[Kind, str]:
    nodes = list(_nodes(node))
    functions = {one.func.name: one for one in nodes if type(one).__name__ == "Call"}
    names = [one.name for one in nodes if type(one).__name__ == "VectorSelector" and one.name]
    if quantile := functions.get("histogram_quantile"):
        return "seconds", f"P{_number(quantile.args[0]) * 100:g}"
    if any(_is(one, "/") for one in nodes) or any(":ratio" in name for name in names):
        return "share", ""
    if "rate" in functions:
        return "rate", ""
    return "level", "bytes" if any(name.endswith("_bytes") for name in names) else ""


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for part in ("lhs", "rhs", "expr", "vector_selector"):
        if (child := getattr(node, part, None)) is not None:
            yield from _nodes(child)
    for child in getattr(node, "args", ()):
        yield from _nodes(child)


def _bare(node: Any) -> Any:
    while type(node).__name__ == "ParenExpr":
        node = node.expr
    return node


def _is(node: Any, *operators: str) -> bool:
    return type(node).__name__ == "BinaryExpr" and str(node.op) in operators


def _number(node: Any) -> float:
    """A literal's; 0 of anything else."""
    found = getattr(_bare(node), "val", 0.0)
    return found if isinstance(found, float) else 0.0


def _duration(text: str) -> str:
    return " ".join(f"{number} {_UNITS.get(unit, unit)}" for number, unit in re.findall(r"(\d+)([a-z]+)", text))


def _shown(window: timedelta) -> str:
    rest = int(window.total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if rest % size == 0:
            return f"{rest // size} {unit}"
    return f"{rest} s"


ALERT = OneOf("alert", lambda: [one.name for one in alerts(Sources.of_disk())])
"""An alert's name, as a word of a command."""
