"""Draw the dashboards without Grafana.

Every panel of every dashboard, and a page with all of them.

SOURCE is a Prometheus' address, or `day`: the day that ships. Without one it is what runs here.
"""

import datetime as dt
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from PIL import Image
from rich.markup import escape

from tools.base.clock import zone
from tools.base.console import terminal
from tools.base.errors import ToolError
from tools.base.files import ROOT, Sources
from tools.base.prometheus import Prometheus
from tools.history import recorded
from tools.model.dashboard import ROW, Dashboard, Panel, seconds, shipped_dashboards
from tools.show.preview import content
from tools.show.preview.drawing import draw, together
from tools.show.preview.page import page
from tools.stack.programs import Report
from tools.stack.where import where

PLAYED = "day"
FOLDER = ROOT / ".state" / "preview"
SHADES = 192  # of a picture: half the size, and nobody sees it
YOUNGEST = 5 * 60  # seconds; a stack that was just started is drawn over so much


@dataclass(frozen=True)
class Source:
    """Where values come from, the time it knows of, and the zone of its clock (None is the machine's)."""

    name: str
    prometheus: Prometheus
    first: int
    end: int
    zone: dt.tzinfo | None


def preview(
    dashboards: Sequence[Dashboard], source: Source, start: int, end: int, folder: Path, report: Report
) -> Path:
    """Draw them; returns the page.

    Args:
        dashboards: which.
        source: what answers their queries.
        start: from when, in Unix seconds.
        end: until when.
        folder: gets `index.html`, `<uid>.png` and `<uid>/<panel>.png`; pictures of an earlier preview are replaced.
        report: is told which panel is drawn.

    Raises:
        PrometheusError: it does not answer, or refuses a query.
    """
    clock = [dt.datetime.fromtimestamp(at, dt.UTC).astimezone(source.zone) for at in (start, end)]
    when = f"{clock[0]:%Y-%m-%d %H:%M} to {clock[1]:%H:%M}" + ("" if clock[0].date() == clock[1].date() else " (+1 d)")
    folder.mkdir(parents=True, exist_ok=True)
    for dashboard in dashboards:
        shutil.rmtree(folder / dashboard.uid, ignore_errors=True)
        (folder / dashboard.uid).mkdir()
        pictures: list[tuple[Panel, Image.Image | None]] = []
        noted = content.notes(dashboard, source.prometheus, start, end)
        for panel in dashboard.opened:
            if panel.type == ROW:
                pictures.append((panel, None))
                continue
            report(f"{dashboard.title}: {panel.title}")
            shown = content.ask(panel, dashboard, source.prometheus, start, end)
            shown.notes = noted
            picture = draw(panel, shown, source.zone)
            _save(picture, folder / dashboard.uid / f"{panel.data['id']}.png")
            pictures.append((panel, picture))
        below = f"{source.name}, {when}   ·   preview, drawn from the dashboard's JSON; not Grafana"
        _save(together(pictures, dashboard.title, below), folder / f"{dashboard.uid}.png")
    target = folder / "index.html"
    target.write_text(page(dashboards, source.name, when), "utf-8")
    return target


def _save(picture: Image.Image, path: Path) -> None:
    picture.quantize(SHADES, dither=Image.Dither.NONE).save(path, optimize=True)


@contextmanager
def opened(given: str, report: Report) -> Iterator[Source]:
    """The source that somebody names: an address, `day`, or nothing for the running stack.

    Raises:
        ToolError: it cannot be had.
    """
    if given == PLAYED:
        day, blocks = recorded.blocks(Sources.of_disk(), report)
        with recorded.serving(blocks) as prometheus:
            yield Source(day.name, prometheus, day.start, day.end, day.zone)
        return
    if given and not given.startswith(("http://", "https://")):
        raise ToolError(f"{given} is no source: an address of a Prometheus is one, or {PLAYED}")
    with Prometheus(given or where("prometheus")) as prometheus:
        now = int(time.time())
        found = prometheus.query("min(min_over_time(timestamp(up)[1d:1m]))", now)
        if not found:
            raise ToolError(f"Prometheus at {prometheus.url} has scraped nothing yet: try again in a minute")
        yield Source(f"Prometheus at {prometheus.url}", prometheus, int(found[0].value), now, zone())


def times(source: Source, start: str, end: str, usual: int) -> tuple[int, int]:
    """From when until when.

    Args:
        source: knows the first and the last time.
        start: `HH:MM` on the source's day, or how long before the end; empty: as the dashboard is opened.
        end: `HH:MM`; empty: all that there is.
        usual: seconds that the dashboard looks back.

    Raises:
        ToolError: no such time.
    """
    until = _clock(end, source) if end else source.end
    if start:
        since = _clock(start, source) if ":" in start else until - seconds(start)
    else:
        since = max(until - usual, min(source.first, until - YOUNGEST))
    if since >= until:
        raise ToolError(f"{start} is not before {end or 'now'}")
    return since, until


def _clock(text: str, source: Source) -> int:
    if not re.fullmatch(r"([01]?\d|2[0-3]):[0-5]\d", text):
        raise ToolError(f"{text} is no time of day: 16:20 is one")
    hour, minute = map(int, text.split(":"))
    # A second before its end, a day is not over yet.
    day = dt.datetime.fromtimestamp(source.end - 1, dt.UTC).astimezone(source.zone)
    return int(day.replace(hour=hour, minute=minute, second=0, microsecond=0).timestamp())


@click.command("preview", help=__doc__)
@click.argument("source", default="")
@click.option("--start", default="", metavar="TIME", help="16:00, or how long before the end: 30m, 6h.")
@click.option("--end", default="", metavar="TIME", help="16:20; else now, or the end of the day.")
@click.option("--dashboard", metavar="UID", help="Only this one.")
@click.option("--folder", type=click.Path(path_type=Path), default=FOLDER, help="Where pictures and page go.")
def command(source: str, start: str, end: str, dashboard: str | None, folder: Path) -> None:
    dashboards = [one for one in shipped_dashboards() if dashboard in (None, one.uid)]
    if not dashboards:
        raise ToolError(f"no dashboard has the uid {dashboard}")
    console = terminal()
    with console.status("") as status:

        def report(text: str) -> None:
            status.update(escape(text))

        with opened(source, report) as opened_source:
            usual = opened_source.end - opened_source.first if source == PLAYED else dashboards[0].seconds
            since, until = times(opened_source, start, end, usual)
            made = preview(dashboards, opened_source, since, until, folder, report)
    console.print(f"Open {escape(str(made))} in a browser; it needs no server.")
