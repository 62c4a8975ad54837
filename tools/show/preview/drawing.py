"""Panels as pictures, and all of a dashboard as one."""

import datetime as dt
from collections.abc import Sequence

from matplotlib.figure import Figure
from PIL import Image

from tools.model.dashboard import COLUMNS, Panel
from tools.show.preview.colours import CANVAS, DIM, TEXT
from tools.show.preview.content import Content
from tools.show.preview.graph import timeseries
from tools.show.preview.other_kinds import alert_list, heatmap, stat
from tools.show.preview.picture import (
    DPI,
    GAP,
    LINE,
    PLAIN,
    ROW_HEIGHT,
    WIDTH,
    Picture,
    centred,
    rendered,
    renderer,
    size,
)


def draw(panel: Panel, content: Content, zone: dt.tzinfo | None) -> Image.Image:
    """A panel's picture; times on its axis are of the zone, None is the machine's."""
    picture = Picture(panel, zone)
    kinds = {"timeseries": timeseries, "stat": stat, "heatmap": heatmap, "alertlist": alert_list}
    if panel.type not in kinds:
        centred(picture, f"the preview cannot draw a panel of type {panel.type}")
    elif not content.series and panel.type in ("timeseries", "heatmap"):
        centred(picture, panel.field("").get("noValue", "No data"))
    else:
        kinds[panel.type](picture, panel, content)
    return picture.image()


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
    after = first.get_window_extent(renderer(figure)).x1 + 18
    figure.text(after / width, 0.5, small, color=DIM, size=PLAIN, va="center_baseline")
    return rendered(figure)
