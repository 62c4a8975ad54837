"""End the silences of an alert.

`amtool silence expire` on the stack's Alertmanager.
"""

import subprocess

import click

from tools.base.errors import ToolError
from tools.base.files import ROOT
from tools.model.alerts import ALERT
from tools.stack.where import amtool


@click.command("unsilence", help=__doc__)
@click.argument("alert", type=ALERT)
def command(alert: str) -> int:
    ask = (*amtool(), "silence")
    query = (*ask, "query", "--quiet", f"alertname={alert}")
    asked = subprocess.run(query, cwd=ROOT, stdout=subprocess.PIPE, check=False)
    if asked.returncode:
        return asked.returncode
    if not (silences := asked.stdout.split()):
        raise ToolError(f"{alert} has no silence")
    return subprocess.run((*ask, "expire", *silences), cwd=ROOT, check=False).returncode
