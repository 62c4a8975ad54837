"""When alerts fire, drawn: two rows an alert, the base's above the edit's."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tools.history.backtest import Behaviour
from tools.plan.changes import Plan

COLUMNS = 96  # a quarter of an hour each, of a day
COLOURS = {"critical": "red", "warning": "yellow", "info": "blue", "none": "white"}
HEIGHTS = "▁▂▃▄▅▆▇█"
HELD = "░"
EVERY = 8  # columns from one hour in the scale to the next
NAMES = 10  # room for `base` and `edit`
SVG_WIDTH = 140

# Rich's own names a font at a content network; a picture in the docs asks nobody for anything.
SVG = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
    <style>
    .{unique_id}-matrix {{ font-family: monospace; font-size: {char_height}px; line-height: {line_height}px; }}
    {styles}
    </style>
    <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
    </defs>
    {chrome}
    <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
    </g>
</svg>
"""


def draw(plan: Plan) -> list[Text]:
    """The rows, with a scale above; none where every alert fires, and is held back, when it did before."""
    rows = [row for one in plan.alerts for row in _rows(plan, one.alert, one.severity, (one.before, one.after))]
    return [_scale(plan), *rows] if rows else []


def picture(plan: Plan, path: Path) -> None:
    """Draw into an SVG file."""
    with Path("/dev/null").open("w", encoding="utf-8") as nowhere:
        console = Console(file=nowhere, record=True, width=SVG_WIDTH, highlight=False)
        for row in draw(plan) or [Text("Every alert fires when it did before.")]:
            console.print(row)
        console.save_svg(str(path), title="make plan", code_format=SVG, unique_id="plan")


def _rows(plan: Plan, alert: str, severity: str, sides: Sequence[Behaviour | None]) -> Iterator[Text]:
    drawn = [(side.times, side.inhibited_times) if side else ([], []) for side in sides]
    if drawn[0] != drawn[1]:
        yield Text(alert, style="bold")
        for name, side in zip(("base", "edit"), sides, strict=True):
            row = Text(f"{name:>{NAMES - 2}}  ")
            row.append_text(_bar(plan, side or Behaviour(), COLOURS.get(severity, "white")))
            yield row


def _bar(plan: Plan, one: Behaviour, colour: str) -> Text:
    bar = Text()
    for column in range(COLUMNS):
        start, end = (plan.start + (plan.end - plan.start) * edge / COLUMNS for edge in (column, column + 1))
        firing, held = (_covered(times, start, end) for times in (one.times, one.inhibited_times))
        if not firing:
            bar.append("·", style="dim")
        elif held > firing / 2:
            bar.append(HELD, style=f"dim {colour}")
        else:
            bar.append(HEIGHTS[min(int(firing * len(HEIGHTS)), len(HEIGHTS) - 1)], style=colour)
    return bar


def _covered(times: Sequence[tuple[int, int]], start: float, end: float) -> float:
    """Which share of a column is covered."""
    return sum(max(0.0, min(end, stop) - max(start, begin)) for begin, stop in times) / (end - start)


def _scale(plan: Plan) -> Text:
    """The hours, each where it begins."""
    text = " " * NAMES
    for column in range(0, COLUMNS, EVERY):
        seconds = plan.start + (plan.end - plan.start) * column / COLUMNS + plan.utc_offset
        minutes = round(seconds / 60) % 1440
        text += f"{f'{minutes // 60:02}:{minutes % 60:02}':{EVERY}}"
    return Text(text.rstrip(), style="dim")
