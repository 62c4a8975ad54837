"""Show the newest lines of all logs, or more of one.

In a terminal it goes on with what comes.
"""

import subprocess

import click

from tools.base.console import terminal
from tools.base.errors import ToolError
from tools.stack import docker
from tools.stack.stack import this_clone
from tools.stack.where import COMPONENT, in_docker


@click.command("logs", help=__doc__)
@click.argument("component", type=COMPONENT, required=False)
def command(component: str | None) -> int:
    lines = "100" if component else "10"
    if in_docker():
        following = ["--follow"] if terminal().is_terminal else []
        return docker.compose("logs", "--tail", lines, *following, *([component] if component else []))
    stack = this_clone()
    files = [stack.log(name) for name in ([component] if component else stack.names)]
    there = [str(file) for file in files if file.exists()]
    if not there:
        raise ToolError("there are no logs yet: make up")
    follow = ["-F"] if terminal().is_terminal else []
    return subprocess.run(("tail", "-n", lines, *follow, *there), check=False).returncode  # noqa: S607 - everywhere
