"""What a panel shows at some times: series with their names and options, exemplars, alerts, and what was annotated."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from tools.base.prometheus import Exemplar, Prometheus
from tools.model.dashboard import Dashboard, Json, Panel, name, step, substitute
from tools.show.preview.answers import Answer, Numbers, at_once, over
from tools.show.preview.colours import classic, colour

POINTS = 720  # at most, across a panel of half the width


@dataclass(frozen=True)
class Window:
    """From when until when, and how far apart points are; Unix seconds."""

    start: int
    end: int
    step: int

    @classmethod
    def of(cls, start: int, end: int, columns: int) -> "Window":
        """Of a panel that is so many columns wide. Points lie at multiples of the step, as Grafana's do."""
        apart = step(end - start, POINTS * columns // 12)
        return cls(start, end, apart)

    @cached_property
    def times(self) -> range:
        """Of the points."""
        return range(self.start // self.step * self.step, self.end + 1, self.step)


@dataclass(frozen=True)
class Drawn:
    """A series, and how it is drawn."""

    name: str
    labels: dict[str, str]
    values: Numbers
    colour: str
    field: Json

    @property
    def on_the_right(self) -> bool:
        """Whether its axis is the right one."""
        return self.field.get("custom.axisPlacement") == "right"

    @property
    def unit(self) -> str | None:
        """Of its values."""
        return self.field.get("unit")


@dataclass(frozen=True)
class Note:
    """Something that was going on from one time until another."""

    title: str
    colour: str
    start: float
    end: float


@dataclass
class Content:
    """All of a panel."""

    window: Window
    series: list[Drawn] = field(default_factory=list)
    exemplars: list[Exemplar] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


def notes(dashboard: Dashboard, prometheus: Prometheus, start: int, end: int) -> list[Note]:
    """What the dashboard annotates. Raises PrometheusError."""
    window = Window.of(start, end, 24)
    found = []
    for one in dashboard.annotations:
        if not (one.get("enable") and one.get("expr")):
            continue
        expression = substitute(one["expr"], dashboard.chosen, end - start, window.step)
        for series in over(prometheus, expression, window.times):
            title = name({"legendFormat": one.get("titleFormat", "")}, series.labels)
            shade = colour(one.get("iconColor", "blue"))
            found += [Note(title, shade, first, last) for first, last in _stretches(series, window)]
    return found


def ask(panel: Panel, dashboard: Dashboard, prometheus: Prometheus, start: int, end: int) -> Content:
    """Everything that a panel shows. Raises PrometheusError."""
    window = Window.of(start, end, panel.place[2])
    found = Content(window)
    targets = _alerts(panel) if panel.type == "alertlist" else panel.targets
    for target in targets:
        expression = substitute(target["expr"], dashboard.chosen, end - start, window.step)
        now = target.get("instant", False)
        answered = at_once(prometheus, expression, end) if now else over(prometheus, expression, window.times)
        for series in answered:
            called = name(target, series.labels)
            options = panel.field(called)
            fixed = options.get("color", {})
            shade = colour(fixed["fixedColor"]) if fixed.get("mode") == "fixed" else classic(len(found.series))
            found.series.append(Drawn(called, series.labels, series.values, shade, options))
        if target.get("exemplar"):
            found.exemplars += prometheus.exemplars(expression, start, end)
    found.exemplars = _largest(found.exemplars, window)
    return found


def _alerts(panel: Panel) -> Iterator[Json]:
    """An alert list asks for states and labels, and gets them from Prometheus."""
    wanted = panel.options.get("stateFilter", {})
    states = "|".join(state for state in ("firing", "pending") if wanted.get(state))
    matchers = panel.options.get("alertInstanceLabelFilter", "").strip("{}")
    yield {"expr": f'ALERTS{{alertstate=~"{states}",{matchers}}}', "legendFormat": "{{alertname}}", "instant": True}


def _largest(exemplars: list[Exemplar], window: Window) -> list[Exemplar]:
    """One a point: the others would lie upon each other."""
    found: dict[int, Exemplar] = {}
    for one in exemplars:
        at = int(one.time // window.step)
        if at not in found or found[at].value < one.value:
            found[at] = one
    return list(found.values())


def _stretches(series: Answer, window: Window) -> Iterator[tuple[float, float]]:
    there = np.concatenate(([False], ~np.isnan(series.values), [False]))
    edges = np.flatnonzero(there[1:] != there[:-1])
    for first, after in zip(edges[::2], edges[1::2], strict=True):
        yield window.times[int(first)], window.times[int(after) - 1]
