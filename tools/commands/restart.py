"""Restart one component, as after an edit of its file."""

import click

from tools.base.console import terminal
from tools.stack import docker
from tools.stack.progress import Display, print_damage
from tools.stack.stack import this_clone
from tools.stack.where import COMPONENT, in_docker


@click.command("restart", help=__doc__)
@click.argument("component", type=COMPONENT)
def command(component: str) -> int:
    if in_docker():
        return docker.compose("restart", component)
    stack, console = this_clone(), terminal()
    with Display(console) as display:
        display.report(component, "stopping")
        stack.stop(component)
        display.report(component, "starting")
        stack.start(component)
        display.report(component, "ready")
    print_damage(console, stack.folder)
    return 0
