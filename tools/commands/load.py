"""Send messages, and compare with Prometheus.

As Evolution API does; prints how they were answered by lane and status, then waits until Prometheus shows the same
numbers. A seed repeats the same messages, ids too: sent again, they are duplicates. Exit code: 1 if they differ.
"""

import os
from typing import Any

import click

from simulator.__main__ import load
from simulator.settings import SimulatorError
from tools.base.console import terminal
from tools.base.errors import ToolError
from tools.stack import docker
from tools.stack.stack import running_here
from tools.stack.where import in_docker, where


def _load(**given: Any) -> int:
    if in_docker():
        secret = docker.environment("service")["WEBHOOK_SECRET"]
        os.environ |= {
            "WEBHOOK_SECRET": secret,
            "SERVICE_URL": where("service"),
            "PROMETHEUS_URL": where("prometheus"),
        }
        if docker.own_traffic() and not given["no_verify"]:
            given["no_verify"] = True
            terminal().print("Not compared with Prometheus: the simulator writes too. SIMULATOR_RATE=0 stops it.")
    else:
        os.environ |= running_here().service_environment()
    try:
        sent: int = click.get_current_context().invoke(load, **given)
    except SimulatorError as error:
        raise ToolError(str(error)) from error
    return sent


command = click.Command("load", callback=_load, params=load.params, help=__doc__)
