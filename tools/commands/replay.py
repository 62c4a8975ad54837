"""Try again the jobs given up and the deliveries kept."""

import sys

import click

from tools.stack.stack import running_here


@click.command("replay", help=__doc__)
def command() -> int:
    return running_here().run((sys.executable, "-m", "app.admin", "replay"))
