"""Show what runs, with CPU time, memory and address."""

import click

from tools.base.console import terminal
from tools.stack.progress import print_damage, print_status
from tools.stack.stack import this_clone


@click.command("status", help=__doc__)
def command() -> None:
    stack, console = this_clone(), terminal()
    print_status(console, [(name, stack.state(name), stack.pid(name), stack.url(name)) for name in stack.names])
    print_damage(console, stack.folder)
