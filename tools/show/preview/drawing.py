"""Panels as pictures."""

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator
from PIL import Image

from tools.model.dashboard import COLUMNS, Json, Panel, threshold_steps
from tools.show.preview.answers import Numbers
from tools.show.preview.colours import CANVAS, DIM, EXEMPLAR, GRID, PANEL, TEXT, colour, of_value, readable_on
from tools.show.preview.content import Content, Drawn, Note
from tools.show.preview.units import formatted

WIDTH, LINE, GAP, ROW_HEIGHT = 1600, 38, 8, 34  # pixels, at Grafana's proportions
DPI = 100
PLAIN, SMALL, HEADING = 8.5, 7.5, 10  # points
THRESHOLD = 2 * 72 / DPI  # two whole pixels, in points
LEGEND_LINE = 17
CALCULATIONS = {"lastNotNull": "Last", "max": "Max", "min": "Min", "mean": "Mean"}
SEVERITIES = {"critical": "red", "warning": "orange", "info": "blue"}
_TICKS = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 14400, 21600, 43200, 86400)

mpl.rcParams |= {"font.family": "DejaVu Sans", "text.parse_math": False}


@dataclass(frozen=True)
class Box:
    """Part of a picture, in pixels from the left and the top."""

    left: float
    top: float
    width: float
    height: float


class Picture:
    """A panel's canvas."""

    def __init__(self, panel: Panel, zone: dt.tzinfo | None) -> None:
        _, _, columns, lines = panel.place
        self.width, self.height = size(columns, lines)
        self.zone = zone
        self.figure = Figure(figsize=(self.width / DPI, self.height / DPI), dpi=DPI, facecolor=PANEL)
        self._renderer = _renderer(self.figure)
        self.text(10, 15, panel.title, size=HEADING, weight="bold")

    def text(self, left: float, top: float, words: str, **style: object) -> float:
        """Write around this height; returns the width."""
        style = {"color": TEXT, "size": PLAIN, "va": "center_baseline"} | style
        written = self.figure.text(left / self.width, 1 - top / self.height, words, **style)  # type: ignore[arg-type]
        return written.get_window_extent(self._renderer).width

    def measure(self, words: str, points: float = PLAIN, weight: str = "normal") -> float:
        """How wide a text is."""
        written = self.figure.text(0, 0, words, size=points, weight=weight)
        width = written.get_window_extent(self._renderer).width
        written.remove()
        return width

    def shape(self, box: Box, shade: str, round_by: float) -> None:
        """A filled rectangle with round corners."""
        corner = (box.left / self.width, 1 - (box.top + box.height) / self.height)
        self.figure.add_artist(
            FancyBboxPatch(
                corner,
                box.width / self.width,
                box.height / self.height,
                boxstyle=f"round,pad=0,rounding_size={round_by / self.width}",
                facecolor=shade,
                edgecolor="none",
                mutation_aspect=self.width / self.height,
                transform=self.figure.transFigure,
            )
        )

    def axes(self, box: Box) -> Axes:
        """Where values are drawn."""
        bottom = 1 - (box.top + box.height) / self.height
        made = self.figure.add_axes(
            (box.left / self.width, bottom, box.width / self.width, box.height / self.height), facecolor="none"
        )
        made.tick_params(colors=DIM, labelsize=SMALL, length=0, pad=4)
        made.grid(color=GRID, linewidth=0.6)
        made.set_axisbelow(True)
        for spine in made.spines.values():
            spine.set_visible(False)
        return made

    def image(self) -> Image.Image:
        """What was drawn."""
        return _rendered(self.figure)


def size(columns: int, lines: int) -> tuple[int, int]:
    """Width and height of a panel in pixels."""
    return round(columns * (WIDTH + GAP) / COLUMNS) - GAP, lines * LINE - GAP


def draw(panel: Panel, content: Content, zone: dt.tzinfo | None) -> Image.Image:
    """A panel's picture; times on its axis are of the zone, None is the machine's."""
    picture = Picture(panel, zone)
    kinds = {"timeseries": _timeseries, "stat": _stat, "heatmap": _heatmap, "alertlist": _alert_list}
    if panel.type not in kinds:
        _centred(picture, f"the preview cannot draw a panel of type {panel.type}")
    elif not content.series and panel.type in ("timeseries", "heatmap"):
        _centred(picture, panel.field("").get("noValue", "No data"))
    else:
        kinds[panel.type](picture, panel, content)
    return picture.image()


def _centred(picture: Picture, words: str) -> None:
    picture.text(picture.width / 2, picture.height / 2, words, ha="center", color=DIM)


# --- time series -----------------------------------------------------------------------------------------------------


def _timeseries(picture: Picture, panel: Panel, content: Content) -> None:
    right = [one for one in content.series if one.on_the_right]
    left = [one for one in content.series if not one.on_the_right]
    box = _legend(picture, panel, content)
    main = _scale(left or right)
    other = _scale(right) if left and right else None
    box = _beside_labels(picture, box, main, other)
    axes = picture.axes(box)
    main.put_on(axes)
    _time_axis(axes, content, picture, box)
    _annotate(axes, content.notes)
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


def _annotate(axes: Axes, notes: Sequence[Note]) -> None:
    for note in notes:
        axes.axvspan(note.start, note.end, color=note.colour, alpha=0.07, linewidth=0, zorder=0.5)
        for at in {note.start, note.end}:
            axes.axvline(at, color=note.colour, alpha=0.55, linewidth=0.7, linestyle=(0, (3, 3)), zorder=0.6)


def _time_axis(axes: Axes, content: Content, picture: Picture, box: Box) -> None:
    window = content.window
    axes.set_xlim(window.start, window.end)
    room = max(2, int(box.width // 70))
    apart = next((tick for tick in _TICKS if (window.end - window.start) / tick <= room), _TICKS[-1])
    offset = dt.datetime.fromtimestamp(window.start, dt.UTC).astimezone(picture.zone).utcoffset() or dt.timedelta()
    shift = int(offset.total_seconds()) % apart
    first = -(-(window.start + shift) // apart) * apart - shift
    ticks = list(range(first, window.end + 1, apart))
    clock = [dt.datetime.fromtimestamp(tick, dt.UTC).astimezone(picture.zone) for tick in ticks]
    axes.set_xticks(ticks, [f"{at:%H:%M}" for at in clock])


def _beside_labels(picture: Picture, box: Box, left: Scale, right: Scale | None) -> Box:
    """The box without the room that labels of the axes take."""
    before = max(picture.measure(label, SMALL) for label in left.labels) + 6 if left.ticks else 0
    after = max(picture.measure(label, SMALL) for label in right.labels) + 8 if right and right.ticks else 6
    return Box(box.left + before, box.top, box.width - before - after, box.height)


# --- the legend ------------------------------------------------------------------------------------------------------


def _legend(picture: Picture, panel: Panel, content: Content) -> Box:
    """Draws it, and returns the room that is left, labels of the time axis below it."""
    legend = panel.options.get("legend", {})
    top, bottom = 36.0, 24.0
    room = Box(10, top, picture.width - 20, picture.height - top - bottom)
    if not legend.get("showLegend", True):
        return room
    if legend.get("placement") == "right":
        return _table(picture, content, legend.get("calcs", []), room)
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
        picture.text(left + 18, height, _cut(picture, one.name, names - 22))
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


def _cut(picture: Picture, words: str, width: float) -> str:
    if picture.measure(words) <= width:
        return words
    while words and picture.measure(words + "…") > width:
        words = words[:-1]
    return words + "…"


def calculated(one: Drawn, calc: str) -> str:
    """What the legend's column of this name says."""
    values = one.values[~np.isnan(one.values)]
    if not len(values):
        return "–"
    found = {"lastNotNull": values[-1], "max": values.max(), "min": values.min(), "mean": values.mean()}[calc]
    return formatted(float(found), one.unit, one.field.get("decimals"))


# --- the other kinds -------------------------------------------------------------------------------------------------


def _stat(picture: Picture, panel: Panel, content: Content) -> None:
    if not content.series:
        picture.text(picture.width / 2, picture.height / 2 + 12, panel.field("").get("noValue", "No data"), ha="center")
        return
    named = panel.options.get("textMode") == "value_and_name"
    count = len(content.series)
    across = count if picture.width > picture.height else 1
    down = -(-count // across)
    box = Box(8, 30, picture.width - 16, picture.height - 38)
    width, height = (box.width + 4) / across - 4, (box.height + 4) / down - 4
    for number, one in enumerate(content.series):
        left, top = box.left + number % across * (width + 4), box.top + number // across * (height + 4)
        _tile(picture, Box(left, top, width, height), one, named)


def _tile(picture: Picture, box: Box, one: Drawn, named: bool) -> None:
    value = float(one.values[-1])
    shade = of_value(value, threshold_steps(one.field))
    picture.shape(box, shade, round_by=4)
    ink = readable_on(shade)
    words = _mapped(value, one) or formatted(value, one.unit, one.field.get("decimals"))
    largest = min(22.0, box.height * 0.4, 22 * (box.width - 14) / picture.measure(words, 22, "bold"))
    middle = box.left + box.width / 2
    below = box.top + box.height / 2
    if named:
        picture.text(
            middle, box.top + box.height * 0.25, _cut(picture, one.name, box.width - 8), ha="center", color=ink
        )
        below = box.top + box.height * 0.6
    picture.text(middle, below, words, ha="center", color=ink, size=largest, weight="bold")


def _mapped(value: float, one: Drawn) -> str | None:
    for mapping in one.field.get("mappings", []):
        found = mapping["options"].get(f"{value:g}") if mapping["type"] == "value" else None
        if found:
            return str(found["text"])
    return None


def _heatmap(picture: Picture, panel: Panel, content: Content) -> None:
    series = sorted(content.series, key=lambda one: float(one.labels["le"]))
    edges = [float(one.labels["le"]) for one in series]
    counts = np.diff(np.vstack([np.zeros_like(series[0].values), *(one.values for one in series)]), axis=0)
    least = panel.options.get("filterValues", {}).get("le", 0)
    counts = np.where(counts > least, counts, np.nan)
    used = np.flatnonzero(~np.isnan(counts).all(axis=1))
    if not len(used):
        _centred(picture, "No data")
        return
    first, last = max(int(used[0]) - 1, 0), min(int(used[-1]) + 1, len(edges) - 1)
    unit = panel.options.get("yAxis", {}).get("unit")
    names = ["+Inf" if math.isinf(edge) else formatted(edge, unit) for edge in edges[first : last + 1]]
    left = 16 + max(picture.measure(name, SMALL) for name in names)
    box = Box(left, 36, picture.width - left - 86, picture.height - 60)
    axes = picture.axes(box)
    rows = np.arange(last - first + 2)
    times = np.array([*content.window.times, content.window.times[-1] + content.window.step], dtype=float)
    mesh = axes.pcolormesh(times, rows, counts[first : last + 1], cmap="Blues_r")
    mesh.set_clim(-0.35 * float(np.nanmax(counts)), float(np.nanmax(counts)))
    axes.set_ylim(0, len(rows) - 1)
    axes.set_yticks(rows[1:], names)
    _time_axis(axes, content, picture, box)
    _annotate(axes, content.notes)
    _colour_scale(picture, box, float(np.nanmax(counts)))
    for one in content.exemplars:
        at = int(np.searchsorted(edges, one.value)) - first
        axes.plot(one.time, at + 0.5, "D", color=EXEMPLAR, markersize=4.5, zorder=6)


def _colour_scale(picture: Picture, box: Box, largest: float) -> None:
    axes = picture.axes(Box(box.left + box.width + 20, box.top, 12, box.height))
    axes.imshow(np.linspace(0, 1, 64)[:, None], cmap="Blues_r", aspect="auto", origin="lower", vmin=-0.35, vmax=1)
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.set_yticks([0, 63], ["0", formatted(largest, None)])
    axes.grid(visible=False)


def _alert_list(picture: Picture, _: Panel, content: Content) -> None:
    if not content.series:
        _centred(picture, "No alerts matching filters")
        return
    order = {"critical": 0, "warning": 1}
    listed = sorted(content.series, key=lambda one: (order.get(one.labels.get("severity", ""), 2), one.name))
    fit = int((picture.height - 34) // 22)
    shown = listed if len(listed) <= fit else listed[: fit - 1]
    for number, one in enumerate(shown):
        top = 44 + number * 22
        severity = one.labels.get("severity", "")
        shade = colour(SEVERITIES.get(severity, "text"))
        picture.shape(Box(10, top - 8, 4, 16), shade, round_by=1)
        state = ", ".join(filter(None, (one.labels["alertstate"], severity)))
        width = picture.text(picture.width - 10, top, state, ha="right", color=shade, size=SMALL)
        picture.text(22, top, _cut(picture, one.name, picture.width - width - 44))
    if len(shown) < len(listed):
        picture.text(22, 44 + len(shown) * 22, f"… and {len(listed) - len(shown)} more", color=DIM)


# --- all of a dashboard ----------------------------------------------------------------------------------------------


def together(panels: Sequence[tuple[Panel, Image.Image | None]], title: str, below: str) -> Image.Image:
    """A whole dashboard: each picture at its place, rows as headings."""
    top = 56
    height = top + max(panel.place[1] + panel.place[3] for panel, _ in panels) * LINE
    whole = Image.new("RGB", (WIDTH + 2 * GAP, height), CANVAS)
    heading = _words(title, below, whole.width, top)
    whole.paste(heading, (0, 0))
    for panel, picture in panels:
        column, line, columns, _ = panel.place
        place = (GAP + round(column * (WIDTH + GAP) / COLUMNS), top + line * LINE)
        made = picture or _words(f"▾ {panel.title}", "", size(columns, 1)[0], ROW_HEIGHT - GAP)
        whole.paste(made, place)
    return whole


def _words(large: str, small: str, width: int, height: int) -> Image.Image:
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=CANVAS)
    first = figure.text(
        GAP / width, 0.5, large, color=TEXT, size=14 if small else 11, weight="bold", va="center_baseline"
    )
    after = first.get_window_extent(_renderer(figure)).x1 + 18
    figure.text(after / width, 0.5, small, color=DIM, size=PLAIN, va="center_baseline")
    return _rendered(figure)


def _renderer(figure: Figure) -> RendererBase:
    made: RendererBase = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    return made


def _rendered(figure: Figure) -> Image.Image:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")  # type: ignore[no-untyped-call]
