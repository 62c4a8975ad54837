"""The slowest requests of the last minutes by lane, and the waterfall of the slowest."""

import math
import time
from collections import defaultdict
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from tools.base.errors import ToolError
from tools.base.prometheus import Exemplar, Prometheus
from tools.show import trace

EACH = 3  # of a lane
WINDOW = f"{trace.WINDOW_SECONDS // 60}m"
_P95 = f"histogram_quantile(0.95, sum by (lane, le) (rate({trace.METRIC}[{WINDOW}])))"


def by_lane(found: Sequence[Exemplar], lane: str = "") -> dict[str, list[Exemplar]]:
    """The slowest of each lane, slowest first; lanes by their slowest. With a lane only that one."""
    lanes: defaultdict[str, list[Exemplar]] = defaultdict(list)
    for one in sorted(found, key=lambda one: one.value, reverse=True):
        of = one.labels.get("lane", "")
        if lane in ("", of) and len(lanes[of]) < EACH:
            lanes[of].append(one)
    return {name: listed for name, listed in lanes.items() if listed}


def p95(prometheus: Prometheus, now: float) -> dict[str, float]:
    """Seconds by lane, of the same time. Raises PrometheusError."""
    values = {one.labels.get("lane", ""): one.value for one in prometheus.query(_P95, now)}
    return {lane: value for lane, value in values.items() if not math.isnan(value)}


def show(console: Console, lane: str, prometheus: Prometheus, stores: Sequence[str]) -> None:
    """Print both. Raises PrometheusError, ToolError."""
    now = time.time()
    lanes = by_lane(trace.exemplars(prometheus, now), lane)
    if not lanes:
        of_lane = f" of the lane {lane}" if lane else ""
        raise ToolError(f"no request{of_lane} in the last {WINDOW}: run `make load`, wait 10 s, try again")
    _print(console, lanes, p95(prometheus, now), now)
    for one in sorted((one for listed in lanes.values() for one in listed), key=lambda one: one.value, reverse=True):
        if spans := trace.fetch(one.trace_id, stores):
            console.print(f"\nThe slowest whose trace is stored, lane {one.labels.get('lane', '')}:")
            trace.draw(console, one.trace_id, spans)
            return
    raise ToolError("the store has none of these traces: it was restarted since, or does not receive them")


def _print(console: Console, lanes: dict[str, list[Exemplar]], usual: dict[str, float], now: float) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("lane", no_wrap=True)
    for title in ("took", f"P95 of {WINDOW}", "ago"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("trace", no_wrap=True)
    for lane, listed in lanes.items():
        shown = f"{trace.readable_time(round(usual[lane] * 1e9))}" if lane in usual else "–"
        for number, one in enumerate(listed):
            took, ago = trace.readable_time(round(one.value * 1e9)), f"{now - one.time:.0f} s"
            table.add_row(*(("", took, "") if number else (lane, took, shown)), ago, one.trace_id)
    console.print(table)
    console.print("Any of them: make trace ID=…   One lane: make slow LANE=…")
