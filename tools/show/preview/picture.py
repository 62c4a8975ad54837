"""A canvas in pixels, and what every kind of panel draws on it."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from tools.model.dashboard import COLUMNS, Panel
from tools.show.preview.colours import DIM, GRID, PANEL, TEXT
from tools.show.preview.content import Content, Note

WIDTH, LINE, GAP, ROW_HEIGHT = 1600, 38, 8, 34  # pixels, at Grafana's proportions
DPI = 100
PLAIN, SMALL, HEADING = 8.5, 7.5, 10  # points
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
        self._renderer = renderer(self.figure)
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
        return rendered(self.figure)


def size(columns: int, lines: int) -> tuple[int, int]:
    """Width and height of a panel in pixels."""
    return round(columns * (WIDTH + GAP) / COLUMNS) - GAP, lines * LINE - GAP


def centred(picture: Picture, words: str) -> None:
    """Words in the middle."""
    picture.text(picture.width / 2, picture.height / 2, words, ha="center", color=DIM)


def annotate(axes: Axes, notes: Sequence[Note]) -> None:
    """Shade what was going on."""
    for note in notes:
        axes.axvspan(note.start, note.end, color=note.colour, alpha=0.07, linewidth=0, zorder=0.5)
        for at in {note.start, note.end}:
            axes.axvline(at, color=note.colour, alpha=0.55, linewidth=0.7, linestyle=(0, (3, 3)), zorder=0.6)


def time_axis(axes: Axes, content: Content, picture: Picture, box: Box) -> None:
    """Times of the day, at whole hours or minutes."""
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


def shortened(picture: Picture, words: str, width: float) -> str:
    """As much of a text as there is room for."""
    if picture.measure(words) <= width:
        return words
    while words and picture.measure(words + "…") > width:
        words = words[:-1]
    return words + "…"


def renderer(figure: Figure) -> RendererBase:
    """What measures texts."""
    made: RendererBase = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    return made


def rendered(figure: Figure) -> Image.Image:
    """What was drawn, as an image."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")  # type: ignore[no-untyped-call]
