"""Name the cause of an alert, or of what is different since a time.

Compares the incident with the time before it, by the derived series and the traces alone: which step, error or process
explains it. The sentence first, then a table, a trace and the runbook, as Markdown for an incident's page.

ALERT is the alert, also one that is over (of the last 24 hours). Without one: the worst that fires; where none does,
the last hour.
"""

import time

import click

from tools.base.console import terminal
from tools.base.files import Sources
from tools.model.alerts import ALERT, alerts
from tools.show import trace
from tools.why import incident
from tools.why.answer import explain
from tools.why.compare import Comparison

HOUR = "1h"


@click.command("why", help=__doc__)
@click.argument("alert", type=ALERT, required=False)
@click.option("--since", metavar="TIME", help="Not ALERT but this: 30m, 14:05 or 2026-03-10T14:05.")
def command(alert: str | None, since: str | None) -> None:
    if alert and since:
        raise click.UsageError("an alert or a time, not both")
    known = {one.name: one for one in alerts(Sources.of_disk())}
    now = time.time()
    with trace.prometheus_here() as prometheus:
        name = alert or ("" if since else incident.worst(prometheus))
        asked = incident.of_alert(prometheus, known[name], now) if name else incident.since(since or HOUR, now)
        answer = explain(Comparison(prometheus, asked.before, asked.during), asked.signal, trace.stores())
    page = answer.markdown(known[name].runbook if name else "")
    terminal().print(page, end="", markup=False)
