"""Show what runs, with CPU time, memory and address."""

import click

from tools.base.console import terminal
from tools.stack import docker
from tools.stack.progress import print_containers, print_damage, print_status
from tools.stack.stack import this_clone
from tools.stack.where import in_docker


@click.command("status", help=__doc__)
def command() -> None:
    stack, console = this_clone(), terminal()
    if in_docker():
        print_containers(console, docker.containers())
        return
    print_status(console, [(name, stack.state(name), stack.pid(name), stack.url(name)) for name in stack.names])
    print_damage(console, stack.folder)
