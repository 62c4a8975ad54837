"""End the silences of an alert.

`amtool silence expire` on the stack's Alertmanager.
"""

import subprocess

import click

from tools.base.errors import ToolError
from tools.model.alerts import ALERT
from tools.stack.programs import ensure
from tools.stack.where import where


@click.command("unsilence", help=__doc__)
@click.argument("alert", type=ALERT)
def command(alert: str) -> int:
    amtool = (ensure("amtool"), f"--alertmanager.url={where('alertmanager')}", "silence")
    asked = subprocess.run((*amtool, "query", "--quiet", f"alertname={alert}"), stdout=subprocess.PIPE, check=False)
    if asked.returncode:
        return asked.returncode
    if not (silences := asked.stdout.split()):
        raise ToolError(f"{alert} has no silence")
    return subprocess.run((*amtool, "expire", *silences), check=False).returncode
