"""Lines over time, and their legend."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator

from tools.model.dashboard import Json, Panel, threshold_steps
from tools.show.preview.answers import Numbers
from tools.show.preview.colours import DIM, EXEMPLAR, colour
from tools.show.preview.content import Content, Drawn
from tools.show.preview.picture import DPI, SMALL, Box, Picture, annotate, shortened, time_axis
from tools.show.preview.units import formatted

THRESHOLD = 2 * 72 / DPI  # two whole pixels, in points
LEGEND_LINE = 17
CALCULATIONS = {"lastNotNull": "Last", "max": "Max", "min": "Min", "mean": "Mean"}


def timeseries(picture: Picture, panel: Panel, content: Content) -> None:
    """Curves on one or two axes, with thresholds, exemplars and annotations."""
    right = [one for one in content.series if one.on_the_right]
    left = [one for one in content.series if not one.on_the_right]
    box = _legend(picture, panel, content)
    main = _scale(left or right)
    other = _scale(right) if left and right else None
    box = _beside_labels(picture, box, main, other)
    axes = picture.axes(box)
    main.put_on(axes)
    time_axis(axes, content, picture, box)
    annotate(axes, content.notes)
    _curves(axes, left or right, content)
    if other:
        second = axes.twinx()
        second.set_facecolor("none")
        second.tick_params(colors=DIM, labelsize=SMALL, length=0, pad=4)
        for spine in second.spines.values():
            spine.set_visible(False)
        other.put_on(second)
        _curves(second, right, content)
    _diamonds(axes, content)


@dataclass
class Scale:
    """A value axis."""

    low: float
    high: float
    logarithmic: bool
    unit: str | None
    ticks: list[float]

    @property
    def labels(self) -> list[str]:
        """What stands beside the ticks."""
        return [formatted(tick, self.unit) for tick in self.ticks]

    def put_on(self, axes: Axes) -> None:
        """Give it to a part of the picture."""
        if self.logarithmic:
            axes.set_yscale("log")
        axes.set_ylim(self.low, self.high)
        axes.yaxis.set_major_locator(FixedLocator(self.ticks))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_yticks(self.ticks, self.labels)


def _scale(series: Sequence[Drawn]) -> Scale:
    fields = [one.field for one in series]
    tops = [values for _, values in _stacked(series)]
    seen = np.concatenate([*tops, *(one.values for one in series)])
    seen = seen[np.isfinite(seen)]
    logarithmic = any(one.get("custom.scaleDistribution", {}).get("type") == "log" for one in fields)
    if logarithmic:
        seen = seen[seen > 0]
    low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.1, 1.0)
    if logarithmic:  # heeds no soft ends, and rounds a hard one up
        high = max(_given(fields, "max"), default=high)
        low, high = 10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high))
        ticks = [float(tick) for tick in LogLocator(10).tick_values(low, high) if low <= tick <= high]
        return Scale(low, max(high, low * 10), True, series[0].unit, ticks)
    low = min([low, *_given(fields, "custom.axisSoftMin")])
    high = max([high, *_given(fields, "custom.axisSoftMax")])
    if low == high:  # a flat line, which belongs into the middle
        low, high = low - 0.5, high + 0.5
    low = min(_given(fields, "min"), default=low)
    high = max(_given(fields, "max"), default=high + (high - low) * 0.05)
    part = 2**20 if series[0].unit == "bytes" else 1
    between = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low / part, high / part)
    ticks = [float(tick) * part for tick in between if low <= tick * part <= high]
    return Scale(low, high, False, series[0].unit, ticks)


def _given(fields: Sequence[Json], option: str) -> list[float]:
    return [float(one[option]) for one in fields if one.get(option) is not None]


def _stacked(series: Sequence[Drawn]) -> list[tuple[Numbers, Numbers]]:
    """Lower and upper edge of each."""
    below: dict[str, Numbers] = {}
    found = []
    for one in series:
        stacking = one.field.get("custom.stacking", {})
        if stacking.get("mode") != "normal":
            found.append((np.zeros_like(one.values), one.values))
            continue
        base = below.get(stacking["group"], np.zeros_like(one.values))
        found.append((base, base + one.values))
        below[stacking["group"]] = base + np.nan_to_num(one.values)
    return found


def _curves(axes: Axes, series: Sequence[Drawn], content: Content) -> None:
    times = np.array(content.window.times, dtype=float)
    drawn: set[tuple[float, str]] = set()
    for one, (below, above) in zip(series, _stacked(series), strict=True):
        width = one.field.get("custom.lineWidth", 1)
        filled = one.field.get("custom.fillOpacity", 0) / 100
        if filled:
            axes.fill_between(times, below, above, color=one.colour, alpha=filled, linewidth=0, zorder=2)
        axes.plot(times, above, color=one.colour, linewidth=width * 0.75, linestyle=_dashes(one), zorder=3)
        alone = _alone(one.values)
        axes.plot(times[alone], above[alone], "o", color=one.colour, markersize=2.5, zorder=3)
        drawn |= thresholds(one)
    for value, shade in drawn:
        axes.axhline(value, color=shade, linewidth=THRESHOLD, linestyle=(0, (5, 3)), alpha=0.9, zorder=4)


def _dashes(one: Drawn) -> str | tuple[int, tuple[float, ...]]:
    style = one.field.get("custom.lineStyle", {})
    if style.get("fill") not in ("dash", "dot"):
        return "-"
    return (0, tuple(length / 2 for length in style.get("dash", (0, 3))))


def _alone(values: Numbers) -> Numbers:
    """Points without neighbours, which no line shows."""
    there = ~np.isnan(values)
    before, after = np.append(False, there[:-1]), np.append(there[1:], False)
    alone: Numbers = there & ~before & ~after
    return alone


def thresholds(one: Drawn) -> set[tuple[float, str]]:
    """Value and colour of each line."""
    if one.field.get("custom.thresholdsStyle", {}).get("mode", "off") == "off":
        return set()
    return {(value, colour(name)) for value, name in threshold_steps(one.field) if math.isfinite(value)}


def _diamonds(axes: Axes, content: Content) -> None:
    low, high = axes.get_ylim()
    for one in content.exemplars:
        # As Grafana does: what is beyond the axis, which the curves made, lies at its end.
        shown = min(max(one.value, low), high)
        axes.plot(one.time, shown, "D", color=EXEMPLAR, markersize=4.5, zorder=6, clip_on=False)


def _beside_labels(picture: Picture, box: Box, left: Scale, right: Scale | None) -> Box:
    """The box without the room that labels of the axes take."""
    before = max(picture.measure(label, SMALL) for label in left.labels) + 6 if left.ticks else 0
    after = max(picture.measure(label, SMALL) for label in right.labels) + 8 if right and right.ticks else 6
    return Box(box.left + before, box.top, box.width - before - after, box.height)


def _legend(picture: Picture, panel: Panel, content: Content) -> Box:
    """Draws it, and returns the room that is left, labels of the time axis below it."""
    options = panel.options.get("legend", {})
    top, bottom = 36.0, 24.0
    room = Box(10, top, picture.width - 20, picture.height - top - bottom)
    if not options.get("showLegend", True):
        return room
    if options.get("placement") == "right":
        return _table(picture, content, options.get("calcs", []), room)
    return _list(picture, content, room)


def _table(picture: Picture, content: Content, calcs: Sequence[str], room: Box) -> Box:
    rows = [(one, [calculated(one, calc) for calc in calcs]) for one in content.series]
    widths = [
        max(picture.measure(text) for text in (CALCULATIONS[calc], *(values[number] for _, values in rows))) + 12
        for number, calc in enumerate(calcs)
    ]
    names = min(max(picture.measure(one.name) for one, _ in rows) + 22, picture.width * 0.3)
    width = names + sum(widths)
    left, top = picture.width - 10 - width, room.top - 6
    ends = [left + names + sum(widths[: number + 1]) for number in range(len(calcs))]
    for calc, end in zip(calcs, ends, strict=True):
        picture.text(end, top, CALCULATIONS[calc], ha="right", color=colour("blue"))
    fit = int((picture.height - top - 8) // LEGEND_LINE) - 1
    shown = rows if len(rows) <= fit else rows[: fit - 1]
    for number, (one, values) in enumerate(shown, 1):
        height = top + number * LEGEND_LINE
        _key(picture, left, height, one)
        picture.text(left + 18, height, shortened(picture, one.name, names - 22))
        for value, end in zip(values, ends, strict=True):
            picture.text(end, height, value, ha="right")
    if len(shown) < len(rows):
        words = f"… and {len(rows) - len(shown)} more"
        picture.text(left + 18, top + fit * LEGEND_LINE, words, color=DIM)
    return Box(room.left, room.top, room.width - width - 14, room.height)


def _list(picture: Picture, content: Content, room: Box) -> Box:
    lines: list[list[Drawn]] = [[]]
    used = 0.0
    for one in content.series:
        width = picture.measure(one.name) + 34
        if used + width > room.width and lines[-1]:
            lines.append([])
            used = 0
        lines[-1].append(one)
        used += width
    height = len(lines) * LEGEND_LINE
    for number, line in enumerate(lines):
        left, top = room.left, picture.height - 4 - height + (number + 0.5) * LEGEND_LINE
        for one in line:
            _key(picture, left, top, one)
            left += 34 + picture.text(left + 18, top, one.name)
    return Box(room.left, room.top, room.width, room.height - height)


def _key(picture: Picture, left: float, top: float, one: Drawn) -> None:
    picture.shape(Box(left, top - 2, 12, 4), one.colour, round_by=2)


def calculated(one: Drawn, calc: str) -> str:
    """What the legend's column of this name says."""
    values = one.values[~np.isnan(one.values)]
    if not len(values):
        return "–"
    found = {"lastNotNull": values[-1], "max": values.max(), "min": values.min(), "mean": values.mean()}[calc]
    return formatted(float(found), one.unit, one.field.get("decimals"))
