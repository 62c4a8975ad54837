"""Print the slowest requests by lane, or of one lane.

And the trace of the slowest.
"""

import click

from tools.base.console import terminal
from tools.base.files import Sources
from tools.base.words import OneOf
from tools.model.contract import load
from tools.show import slow, trace


def _lanes() -> list[str]:
    return list(load(Sources.of_disk()).by_name["webhook_requests_total"].labels["lane"])


@click.command("slow", help=__doc__)
@click.argument("lane", type=OneOf("lane", _lanes), required=False)
def command(lane: str | None) -> None:
    with trace.prometheus_here() as prometheus:
        slow.show(terminal(), lane or "", prometheus, trace.stores())
