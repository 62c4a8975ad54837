"""Remove all there is of a patient.

Messages, jobs, memories, kept deliveries.

PATIENT is the phone number, country code first, or the @lid id.
"""

import click

from tools.stack.where import administer


@click.command("erase", help=__doc__)
@click.argument("patient")
def command(patient: str) -> int:
    return administer("erase", "--", patient)
