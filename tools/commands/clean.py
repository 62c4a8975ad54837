"""Stop everything and delete its data; built programs stay."""

import click

from tools.base.console import terminal
from tools.stack.programs import cache_folder
from tools.stack.stack import this_clone


@click.command("clean", help=__doc__)
def command() -> None:
    stack = this_clone()
    stack.remove()
    terminal().print(f"Deleted all data in {stack.folder}. Built programs stay, for all clones: {cache_folder()}")
