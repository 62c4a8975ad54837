"""Stop everything, so that nothing sent is lost."""

import click

from tools.base.console import terminal
from tools.drill import restore
from tools.stack.progress import Display
from tools.stack.stack import STOP_ORDER, this_clone
from tools.stack.where import only_processes


@click.command("down", help=__doc__)
def command() -> None:
    only_processes("docker compose down stops it, and loses nothing that was sent either")
    stack, console = this_clone(), terminal()
    if not any(map(stack.pid, STOP_ORDER)):
        console.print("Nothing is running.")
        return
    restore.undo_left(stack, console.print)  # what stands still does not stop either
    with Display(console) as display:
        stack.down(report=display.report)
