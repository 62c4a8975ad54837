"""Build the pinned Go programs.

Once for all clones; says where they are.
"""

import time
from functools import partial

import click
from rich.console import Console
from rich.markup import escape
from rich.status import Status

from tools.base.console import terminal
from tools.base.words import OneOf
from tools.stack.programs import NAMES, SCALE, STANDARD, ensure


@click.command("programs", help=__doc__)
@click.argument("names", nargs=-1, type=OneOf("program", lambda: NAMES), metavar="[NAME]...")
@click.option("--scale", is_flag=True, help="Those that `make test-scale` needs, too.")
def command(names: tuple[str, ...], scale: bool) -> None:
    console = terminal()
    for name in (*(names or STANDARD), *(SCALE if scale else ())):
        started = time.monotonic()
        with console.status(name) as status:
            path = ensure(name, partial(_say, console, status, name))
        console.print(f"{name}: {escape(str(path))} ({time.monotonic() - started:.1f} s)")


def _say(console: Console, status: Status, name: str, text: str) -> None:
    status.update(f"{name}: {escape(text)}")
    if not console.is_terminal:  # where nothing moves, a line shows that something happens
        console.print(f"{name}: {escape(text)}")
