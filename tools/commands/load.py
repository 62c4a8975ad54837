"""Send messages, and compare with Prometheus.

As Evolution API does; prints how they were answered by lane and status, then waits until Prometheus shows the same
numbers. A seed repeats the same messages, ids too: sent again, they are duplicates. Exit code: 1 if they differ.
"""

import os
from typing import Any

import click

from simulator.__main__ import load
from simulator.settings import SimulatorError
from tools.base.errors import ToolError
from tools.stack.stack import running_here


def _load(**given: Any) -> int:
    os.environ |= running_here().service_environment()
    try:
        sent: int = click.get_current_context().invoke(load, **given)
    except SimulatorError as error:
        raise ToolError(str(error)) from error
    return sent


command = click.Command("load", callback=_load, params=load.params, help=__doc__)
