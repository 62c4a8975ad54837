"""Tell nobody of an alert for a while.

`amtool silence add` on the stack's Alertmanager; prints the silence's id.
"""

import subprocess

import click

from tools.base.files import ROOT
from tools.model.alerts import ALERT
from tools.stack.where import amtool


@click.command("silence", help=__doc__)
@click.argument("alert", type=ALERT)
@click.option("--for", "duration", default="1h", show_default=True, metavar="TIME", help="How long: 30m, 2h, 1d.")
@click.option("--why", default="no reason given", show_default=True, help="Who works on what; others read it.")
def command(alert: str, duration: str, why: str) -> int:
    given = (f"--duration={duration}", f"--comment={why}", f"alertname={alert}")
    return subprocess.run((*amtool(), "silence", "add", *given), cwd=ROOT, check=False).returncode
