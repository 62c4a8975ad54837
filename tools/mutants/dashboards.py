"""The tests of the dashboards are tested.

Every value in every panel, variable, annotation and link of grafana/dashboards/ is changed or taken out in turn, and
every query broken in every way; a promise of check/dashboards.py or a value of check/dashboard_values.py must tell.
A survivor needs a reason in dashboards.yaml beside this file.
"""

import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from tools.base.errors import ToolError
from tools.base.prometheus import Prometheus
from tools.check.dashboard_samples import filled
from tools.check.dashboard_values import wrong_annotations, wrong_panels, wrong_variables
from tools.check.dashboards import PROMISES
from tools.model.dashboard import Dashboard, shipped_dashboards
from tools.mutants.rules import broken
from tools.mutants.verdicts import Choice, Verdict, reason, some, tried

REASONS = Path(__file__).with_suffix(".yaml")
_INTERVAL, _STANDS_FOR_IT = "$__rate_interval", "59s"  # PromQL knows no variables
_GONE = object()
UNREADABLE = (KeyError, IndexError, TypeError, ValueError, AttributeError, ToolError)

Place = tuple[str | int, ...]
Change = tuple[str, Place, Any]
"""What is done, where, and what stands there then."""


@dataclass(frozen=True)
class DashboardMutant:
    """One change of one dashboard; `panel`: in which, None outside of all."""

    path: str
    name: str
    panel: int | None
    before: Dashboard
    place: Place
    value: Any

    @property
    def dashboard(self) -> Dashboard:
        """The dashboard with it."""
        data = json.loads(self.before.text)
        *path, last = self.place
        parent = data
        for key in path:
            parent = parent[key]
        if self.value is _GONE:
            del parent[last]
        else:
            parent[last] = self.value
        text = json.dumps(data, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
        return Dashboard(self.before.name, text)


def mutants(dashboards: Sequence[Dashboard]) -> Iterator[DashboardMutant]:
    """All there are, in the order of the files."""
    for dashboard in dashboards:
        for number, panel in enumerate(dashboard.data["panels"]):
            for what, place, value in (("is gone", (), _GONE), *_changes(panel)):
                name = f"{panel['title']}: {_said(panel, place)} {what}"
                yield DashboardMutant(_path(dashboard), name, panel["id"], dashboard, ("panels", number, *place), value)
        rest = {key: value for key, value in dashboard.data.items() if key != "panels"}
        for what, place, value in _changes(rest):
            yield DashboardMutant(_path(dashboard), f"{_said(rest, place)} {what}", None, dashboard, place, value)


def _said(value: Any, place: Place) -> str:
    """A place in words: elements of lists by what they are called, if they are."""
    words = []
    for key in place:
        value = value[key]
        element = value if isinstance(value, dict) and isinstance(key, int) else {}
        names = (element.get("matcher", {}).get("options"), *(element.get(one) for one in ("name", "id", "refId")))
        words.append(str(next(filter(None, names), key)))
    return ".".join(words) or "it"


def _path(dashboard: Dashboard) -> str:
    return f"grafana/dashboards/{dashboard.name}"


def _changes(value: Any, place: Place = ()) -> Iterator[Change]:
    """Each key, element and value under a place."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield "is gone", (*place, key), _GONE
            yield from _changes(inner, (*place, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield "is gone", (*place, number), _GONE
            yield from _changes(inner, (*place, number))
    elif isinstance(value, bool):
        yield f"is {not value}", place, not value
    elif isinstance(value, int | float):
        changed = value * 1.1 if isinstance(value, float) else value + 1
        yield f"is {changed:g}", place, changed
    elif isinstance(value, str):
        yield from ((what, place, text) for what, text in _texts(value, place[-1]))


def _texts(text: str, key: str | int) -> Iterator[tuple[str, str]]:
    yield "is another", f"{text}x"
    if key == "expr":
        plain = text.replace(_INTERVAL, _STANDS_FOR_IT)
        yield from ((what, one.replace(_STANDS_FOR_IT, _INTERVAL)) for what, one in broken(plain))
        for number, match in enumerate(re.finditer(re.escape(_INTERVAL), text), 1):
            yield f"window {number} is 5m", f"{text[: match.start()]}5m{text[match.end() :]}"
    elif key == "description":
        for match in re.finditer(
            r"\[\w+\]\([^)]*\)(, )?|\d+ minutes|[\d.]+[\w %]* \((critical|warning|info).*?\)", text
        ):
            yield f"without {match[0]}", text[: match.start()] + text[match.end() :]


class DashboardTrial:
    """Tries mutants against the rules and the values."""

    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus

    def run(self, mutant: DashboardMutant) -> Verdict[DashboardMutant]:
        """Who tells, first of all."""
        for name, problems in self._checks(mutant):
            try:
                told = next(problems, None)
            except UNREADABLE:
                told = name
            if told is not None:
                return Verdict(mutant, name)
        return Verdict(mutant, reason=reason(REASONS, mutant))

    def _checks(self, mutant: DashboardMutant) -> Iterator[tuple[str, Iterator[str]]]:
        dashboard = mutant.dashboard
        for rule in PROMISES:
            yield rule.__name__, rule(dashboard)
        if mutant.panel is not None:
            yield "values", wrong_panels(dashboard, self._prometheus, mutant.panel)
        else:
            yield "annotations", wrong_annotations(dashboard, self._prometheus)
            yield "variables", wrong_variables(dashboard, self._prometheus)


def judge(choice: Choice, console: Console) -> bool:
    """Try them; whether none survives without a reason."""
    chosen = some(choice.of(list(mutants(shipped_dashboards()))), choice.sample)
    if choice.names_only:
        return True
    with tempfile.TemporaryDirectory() as folder, filled(Path(folder)) as prometheus:
        return tried(chosen, DashboardTrial(prometheus).run, choice.jobs, console, by_whom=True)
