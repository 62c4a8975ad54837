"""Count jobs given up, and deliveries not understood."""

import click

from tools.stack.where import administer


@click.command("dead", help=__doc__)
def command() -> int:
    return administer("dead")
