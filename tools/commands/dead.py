"""Count jobs given up, and deliveries not understood."""

import sys

import click

from tools.stack.stack import running_here


@click.command("dead", help=__doc__)
def command() -> int:
    return running_here().run((sys.executable, "-m", "app.admin", "dead"))
