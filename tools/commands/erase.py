"""Remove all there is of a patient.

Messages, jobs, memories, kept deliveries.

PATIENT is the phone number, country code first, or the @lid id.
"""

import sys

import click

from tools.stack.stack import running_here


@click.command("erase", help=__doc__)
@click.argument("patient")
def command(patient: str) -> int:
    return running_here().run((sys.executable, "-m", "app.admin", "erase", "--", patient))
