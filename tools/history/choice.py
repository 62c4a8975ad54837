"""Over which time rules are judged: a running Prometheus', a folder of blocks, or the day that ships."""

import datetime as dt
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tools.base.clock import zone
from tools.base.errors import CannotRunError, ToolError
from tools.base.files import Sources
from tools.base.prometheus import Prometheus
from tools.history import day
from tools.stack.programs import Report
from tools.stack.where import where

ENOUGH = 6 * 3600  # seconds; below, a running Prometheus has seen too little of a day
DAY = 24 * 3600
WARM_UP = 2 * 3600  # before what is reported, so that windows and `for` are full
DAYS_BACK = 3
ANSWER_SECONDS = 10.0  # is waited for Prometheus
SHIPPED = "day"


@dataclass(frozen=True)
class History:
    """What the backtest reads, and what it reports. Times are Unix seconds; 0: all that is there."""

    name: str
    where: Mapping[str, str]
    """The key of the backtest's request, and its value."""
    start: int = 0
    end: int = 0
    warm_up: int = WARM_UP
    zone: dt.tzinfo | None = field(default=None, compare=False)
    """Of the times in reports; None is the machine's."""

    def clock(self, seconds: int) -> str:
        """A time as people read it."""
        return self._at(seconds).strftime("%H:%M")

    def utc_offset(self, seconds: int) -> int:
        """Of the clock, in seconds."""
        offset = self._at(seconds).utcoffset() or dt.timedelta()
        return int(offset.total_seconds())

    def _at(self, seconds: int) -> dt.datetime:
        return dt.datetime.fromtimestamp(seconds, dt.UTC).astimezone(self.zone)


def choose(given: str, sources: Sources, report: Report = lambda _: None) -> History:
    """The history that somebody names: an address, a folder, or `day`; empty: the running stack's, else the day.

    Raises:
        CannotRunError, PrometheusError: what is named cannot be read.
        ToolError: the day cannot be made.
    """
    if given.startswith(("http://", "https://")):
        return _of_prometheus(given.rstrip("/"))
    if given not in ("", SHIPPED):
        if not Path(given).is_dir():
            raise CannotRunError(f"{given} is no folder, so there is no history to read")
        return History(f"the blocks in {given}", {"blocks": str(Path(given).resolve())}, zone=zone())
    if not given:
        try:
            running = _of_prometheus(where("prometheus"))
        except ToolError:
            pass
        else:
            if running.end - running.start >= ENOUGH:
                return running
    return played_day(sources, report)


def played_day(sources: Sources, report: Report = lambda _: None) -> History:
    """The day that ships."""
    blocks = day.blocks(sources, report)
    script = day.Day(sources)
    zone = dt.timezone(dt.timedelta(hours=script.script["utc_offset"]))
    name = f"the played day of {day.PATH}, {script.script['date']:%A}"
    return History(name, {"blocks": str(blocks)}, script.start, script.end, script.start - script.first, zone)


def _of_prometheus(address: str) -> History:
    """The last 24 hours of one, or as much as it has."""
    now = int(time.time())
    with Prometheus(address, ANSWER_SECONDS) as prometheus:
        counted = prometheus.range("count(up)", now - DAYS_BACK * DAY, now, 60)
    if not counted:
        raise CannotRunError(f"{address} has no history: nothing was scraped in the last {DAYS_BACK} days")
    first = int(counted[0].points[0][0])
    start = max(first, now - DAY)
    return History(f"Prometheus at {address}", {"prometheus": address}, start, now, min(WARM_UP, start - first), zone())
