"""Try again the jobs given up and the deliveries kept."""

import click

from tools.stack.where import administer


@click.command("replay", help=__doc__)
def command() -> int:
    return administer("replay")
