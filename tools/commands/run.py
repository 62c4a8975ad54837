"""Run any command with the stack's addresses and secrets.

It gets the environment of the running stack's service.
"""

import click

from tools.stack.stack import running_here
from tools.stack.where import only_processes


@click.command("run", help=__doc__, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED)
def command(words: tuple[str, ...]) -> int:
    only_processes("docker compose exec service COMMAND runs one with its environment")
    return running_here().run(words)
