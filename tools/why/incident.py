"""Which two stretches of time are compared."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from tools.base.clock import zone
from tools.base.errors import ToolError
from tools.base.prometheus import Prometheus
from tools.model.alerts import Alert
from tools.model.dashboard import seconds
from tools.show.firing import COLOURS
from tools.why.compare import Window

LOOKED_BACK_SECONDS = 24 * 3600
STEP_SECONDS = 60
APART_SECONDS = 15 * 60  # an alert that is silent for so long begins a new incident
USUAL_LEAD, LONGEST_LEAD = 5 * 60.0, 6 * 3600.0  # what an alert sees may have begun so long before it became pending
SHORTEST_BEFORE, LONGEST_BEFORE = 15 * 60, 3600


@dataclass(frozen=True)
class Incident:
    """What is asked about."""

    before: Window
    during: Window
    signal: str
    """The alert's label; empty: nothing in particular is asked about."""


def of_alert(prometheus: Prometheus, alert: Alert, now: float) -> Incident:
    """The last time that an alert was pending or fired, and as long before as it looks back.

    Raises PrometheusError; ToolError: it was not, for a day.
    """
    found = prometheus.range(f'ALERTS{{alertname="{alert.name}"}}', now - LOOKED_BACK_SECONDS, now, STEP_SECONDS)
    times = sorted({at for series in found for at, _ in series.points})
    if not times:
        raise ToolError(f"{alert.name} was not active in the last 24 hours; name the time: make why SINCE=30m")
    start = end = times[-1]
    for at in reversed(times):
        if start - at > APART_SECONDS:
            break
        start = at
    end = now if now - end < 2 * STEP_SECONDS else end
    windows = [one.total_seconds() for one in alert.looks_back]
    lead = max((one for one in windows if one <= LONGEST_LEAD), default=USUAL_LEAD)
    return _incident(start - lead, end, found[-1].labels["signal"])


def worst(prometheus: Prometheus) -> str:
    """The alert that fires, the most severe and then the oldest; empty where none does. Raises PrometheusError."""
    firing = [one for one in prometheus.alerts() if one["state"] == "firing"]
    known = [one for one in firing if one["labels"].get("severity") in COLOURS]
    severities = list(COLOURS)
    order = sorted(known, key=lambda one: (severities.index(one["labels"]["severity"]), one["activeAt"]))
    return str(order[0]["labels"]["alertname"]) if order else ""


def since(text: str, now: float) -> Incident:
    """From then until now. Raises ToolError: nobody can read it as a time that was."""
    return _incident(_time(text, datetime.fromtimestamp(now, zone())), now)


def _time(text: str, now: datetime) -> float:
    """`30m`, `14:05` (the clinic's time, today or yesterday), or a date with time."""
    if re.fullmatch(r"\d+\s*[smhd]", text.strip()):
        return now.timestamp() - seconds("".join(text.split()))
    try:
        if re.fullmatch(r"\d{1,2}:\d{2}", text.strip()):
            hour, minute = map(int, text.split(":"))
            at = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
            return (at if at <= now else at - timedelta(days=1)).timestamp()
        parsed = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ToolError(f"{text!r} is no time: 30m, 14:05 or 2026-03-10T14:05, on the clinic's clock") from None
    at = parsed if parsed.tzinfo else parsed.replace(tzinfo=zone())
    if at > now:
        raise ToolError(f"{text!r} is still to come")
    return at.timestamp()


def _incident(start: float, end: float, signal: str = "") -> Incident:
    length = min(max(end - start, SHORTEST_BEFORE), LONGEST_BEFORE)
    return Incident(Window(start - length, start), Window(start, end), signal)
