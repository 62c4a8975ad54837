"""What a plan says: changes, their effects on those who need the series, and all of it."""

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from tools.history.backtest import Behaviour

Fate = Literal["goes blind", "changes meaning", "is touched"]
Severity = Literal["leak", "broken", "gone", "changed", "new"]
Area = Literal["configuration", "metrics", "traces", "cost", "rules", "routes", "firings", "notifications", "contract"]


@dataclass(frozen=True)
class Change:
    """One thing that is different. `subject` is what it is about: a metric, an exporter, a part of the YAML."""

    area: Area
    severity: Severity
    subject: str
    text: str


@dataclass(frozen=True)
class Effect:
    """What the changes do to somebody who needs the series."""

    who: str
    where: str
    what: Fate
    samples: tuple[str, ...] = ()
    """Through these."""


@dataclass(frozen=True)
class AlertChange:
    """An alert that is written differently, or behaves so. None where one version has no such alert."""

    alert: str
    severity: str
    before: Behaviour | None
    after: Behaviour | None


@dataclass
class Plan:
    """All of it."""

    base: str
    edit: str
    changes: list[Change] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    cost: float = 1.0
    series: tuple[int, int] = (0, 0)
    spans: int = 0
    """How many went through the Collectors; 0 where its YAML is the same, so that none was run."""
    history: str = ""
    """Over what rules were evaluated; empty where rules and routes are the same."""
    start: int = 0
    end: int = 0
    """Of the history, Unix seconds."""
    utc_offset: int = 0
    """Of the times in words, seconds."""
    alerts: list[AlertChange] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 nothing changes, 2 something does, 1 the contract is broken or patients' data leave."""
        severities = {change.severity for change in self.changes}
        if severities & {"broken", "leak"}:
            return 1
        return 2 if severities else 0


def altered(area: Area, base: Any, edit: Any) -> Iterator[Change]:
    """What was added, taken away or altered in parsed YAML."""
    for path, before, after in _altered((), base, edit):
        where = ".".join(path)
        if before is None:
            yield Change(area, "new", where, _short(after))
        elif after is None:
            yield Change(area, "gone", where, _short(before))
        else:
            yield Change(area, "changed", where, _delta(before, after))


def _altered(path: tuple[str, ...], before: Any, after: Any) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from _altered((*path, key), before.get(key), after.get(key))
    elif isinstance(before, list) and isinstance(after, list):
        for old, new in _aligned(before, after):
            yield from _altered((*path, _name(new if old is None else old)), old, new)
    else:
        yield path, before, after


def _aligned(before: list[Any], after: list[Any]) -> Iterator[tuple[Any, Any]]:
    """The elements that differ, in pairs; None where one has no counterpart."""
    old, new = ([json.dumps(item, sort_keys=True) for item in side] for side in (before, after))
    for tag, start, end, first, last in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "replace" and end - start == last - first:
            yield from zip(before[start:end], after[first:last], strict=True)
        elif tag != "equal":
            yield from ((item, None) for item in before[start:end])
            yield from ((None, item) for item in after[first:last])


def _name(item: Any) -> str:
    """How people find an element of a list: by what it makes, what it is called, or its context."""
    if isinstance(item, dict):
        return str(next((item[key] for key in ("new_name", "name", "context", "receiver") if key in item), "…"))
    return "…" if isinstance(item, str) and " " in item else str(item)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else text[:120] + " … " + text[-30:]


def _delta(before: Any, after: Any) -> str:
    """Of two long texts only where they differ, with some of what stands around it."""
    old, new = (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in (before, after))
    if len(old) + len(new) <= 160:
        return f"{old} → {new}"
    start, end = _common(old, new), _common(old[::-1], new[::-1])
    return " → ".join(
        f"{'… ' * (start > 30)}{text[max(0, start - 30) : len(text) - end + 10]}{' …' * (end > 10)}"
        for text in (old, new)
    )


def _common(one: str, two: str) -> int:
    """How many letters at the start are the same."""
    return next(
        (number for number, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two))
    )
