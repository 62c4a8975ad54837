"""Tiles, heat maps and lists of alerts."""

import math

import numpy as np

from tools.model.dashboard import Panel, threshold_steps
from tools.show.preview.colours import DIM, EXEMPLAR, colour, of_value, readable_on
from tools.show.preview.content import Content, Drawn
from tools.show.preview.picture import SMALL, Box, Picture, annotate, centred, shortened, time_axis
from tools.show.preview.units import formatted

SEVERITIES = {"critical": "red", "warning": "orange", "info": "blue"}


def stat(picture: Picture, panel: Panel, content: Content) -> None:
    """One coloured tile a value."""
    if not content.series:
        picture.text(picture.width / 2, picture.height / 2 + 12, panel.field("").get("noValue", "No data"), ha="center")
        return
    named = panel.options.get("textMode") == "value_and_name"
    count = len(content.series)
    beside = picture.width > picture.height and panel.options.get("orientation") != "horizontal"
    across = count if beside else 1
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
    if named and box.width > 2.5 * box.height:  # as Grafana's wide layout
        right = box.left + box.width - 10
        width = picture.text(right, below, words, ha="right", color=ink, size=largest, weight="bold")
        picture.text(box.left + 10, below, shortened(picture, one.name, box.width - width - 40), color=ink)
        return
    if named:
        picture.text(
            middle, box.top + box.height * 0.25, shortened(picture, one.name, box.width - 8), ha="center", color=ink
        )
        below = box.top + box.height * 0.6
    picture.text(middle, below, words, ha="center", color=ink, size=largest, weight="bold")


def _mapped(value: float, one: Drawn) -> str | None:
    for mapping in one.field.get("mappings", []):
        options = mapping["options"]
        if mapping["type"] == "value" and (found := options.get(f"{value:g}")):
            return str(found["text"])
        if mapping["type"] == "range" and options["from"] <= value <= options["to"]:
            return str(options["result"]["text"])
    return None


def heatmap(picture: Picture, panel: Panel, content: Content) -> None:
    """How many fell into each bucket, over time."""
    series = sorted(content.series, key=lambda one: float(one.labels["le"]))
    edges = [float(one.labels["le"]) for one in series]
    counts = np.diff(np.vstack([np.zeros_like(series[0].values), *(one.values for one in series)]), axis=0)
    least = panel.options.get("filterValues", {}).get("le", 0)
    counts = np.where(counts > least, counts, np.nan)
    used = np.flatnonzero(~np.isnan(counts).all(axis=1))
    if not len(used):
        centred(picture, "No data")
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
    time_axis(axes, content, picture, box)
    annotate(axes, content.notes)
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


def alert_list(picture: Picture, _: Panel, content: Content) -> None:
    """Alerts with their states, the worst first."""
    if not content.series:
        centred(picture, "No alerts matching filters")
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
        picture.text(22, top, shortened(picture, one.name, picture.width - width - 44))
    if len(shown) < len(listed):
        picture.text(22, 44 + len(shown) * 22, f"… and {len(listed) - len(shown)} more", color=DIM)
