"""Print a trace as a waterfall.

A bar is work, a diamond an event, a dashed line a change of scale: what was done after the answer to the request, or a
pause that is left out.

Without an id: of the newest exemplars that Prometheus holds for webhook requests, not older than a quarter of an hour,
the slowest whose trace is in the store. JAEGER_URL, TEMPO_URL and PROMETHEUS_URL say where to look; without them it is
the running stack.
"""

import re
import time

import click

from tools.base.console import terminal
from tools.base.errors import ToolError
from tools.show import trace


def _id(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{32}", text.lower()):
        raise click.BadParameter(f"{text!r} is not a trace id: it takes 32 hexadecimal digits")
    return text.lower()


@click.command("trace", help=__doc__)
@click.argument("trace_id", type=_id, required=False)
def command(trace_id: str | None) -> None:
    if not trace_id:
        _slowest()
    elif spans := trace.fetch(trace_id, trace.stores()):
        trace.draw(terminal(), trace_id, spans)
    else:
        raise ToolError(
            f"no trace {trace_id} in the store: it may be too new (seconds) or gone (Jaeger forgets at a stop)"
        )


def _slowest() -> None:
    """Print it. Raises ToolError."""
    console, stores, now = terminal(), trace.stores(), time.time()
    with trace.prometheus_here() as prometheus:
        found = trace.find_slow(prometheus, now)
    if not found:
        minutes = trace.WINDOW_SECONDS // 60
        raise ToolError(f"no request in the last {minutes} minutes: run `make load`, wait 10 s, try again")
    for exemplar in found:
        if spans := trace.fetch(exemplar.trace_id, stores):
            console.print(
                f"The slowest of the {len(found)} newest exemplars: lane {exemplar.labels.get('lane', '')}, "
                f"{trace.readable_time(round(exemplar.value * 1e9))}, {now - exemplar.time:.0f} s ago."
            )
            trace.draw(console, exemplar.trace_id, spans)
            return
    raise ToolError(
        "the store has none of the newest requests' traces: it was restarted since, or does not receive them"
    )
