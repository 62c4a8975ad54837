"""Make something go wrong, and see its alert.

In the running stack; afterwards everything is put back.

ALERT is an alert's name, or all. Without one the drills are listed.
"""

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # before grpc is imported: it warns at each program that is started

import time
from pathlib import Path

import asyncpg
import click
import grpc
import httpx
from rich.console import Console
from rich.markup import escape

from tools.base.console import terminal
from tools.base.errors import ToolError
from tools.base.words import OneOf
from tools.drill.faults import FAULTS, ROUNDS, Fault
from tools.drill.report import LiveScreen, hints_of, markdown, print_list, print_results
from tools.drill.run import Result, drilling, play
from tools.drill.system import System
from tools.stack.containers import Containers
from tools.stack.stack import this_clone
from tools.stack.where import in_docker

_ERRORS = (ToolError, httpx.HTTPError, asyncpg.PostgresError, OSError, grpc.RpcError)


ALL = "all"


@click.command("drill", help=__doc__)
@click.argument("alert", type=OneOf("alert", lambda: (*FAULTS, ALL)), required=False)
@click.option("--markdown", "table", type=click.Path(path_type=Path), metavar="FILE", help="Write the table there too.")
def command(alert: str | None, table: Path | None) -> int:
    console = terminal()
    if not alert:
        print_list(console)
        return 0
    return _run(_system(), console, alert, table)


def _system() -> System:
    """What runs here. Raises ToolError: its containers would be made anew as others than they are."""
    if not in_docker():
        return this_clone()
    containers = Containers()
    containers.check()
    return containers


def _run(stack: System, console: Console, alert: str, table: Path | None) -> int:
    began = time.monotonic()
    results: list[Result] = []
    failure, code = "", 0
    try:
        with drilling(stack) as scene:
            for faults, alerts in rounds(alert):
                console.print(f"[bold]{', '.join(fault.name for fault in faults)}[/]")
                for hint in [line for name in sorted(alerts) for line in hints_of(name, stack.ports)]:
                    console.print(f"  {escape(hint)}", soft_wrap=True)
                with LiveScreen(console, stack.ports) as screen:
                    results += play(scene, faults, alerts, screen)
            console.print("Putting everything back.")
    except _ERRORS as error:
        failure = str(error) or type(error).__name__
    except KeyboardInterrupt:
        console.print("[yellow]Interrupted: everything was put back.[/]")
        code = 130
    if results:
        print_results(console, results)
        if table:
            table.write_text(markdown(results), "utf-8")
        good = sum(result.good for result in results)
        console.print(f"{good} of {len(results)} alerts as expected, in {time.monotonic() - began:.0f} s.")
    if failure:
        raise ToolError(failure)
    return code or (0 if all(result.good for result in results) else 1)


def rounds(alert: str) -> list[tuple[tuple[Fault, ...], frozenset[str]]]:
    """What is played: for one alert its fault alone."""
    if alert == ALL:
        return [(faults, frozenset(name for fault in faults for name in fault.alerts)) for faults in ROUNDS]
    fault = FAULTS[alert]
    return [((fault,), frozenset(fault.alerts))]
