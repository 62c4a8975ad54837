"""`make drill` lists the drills; with `ALERT=NAME` or `ALERT=all` it runs them in the stack that `make up` started."""

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # before grpc is imported: it warns at each program that is started

import argparse
import difflib
import signal
import sys
import time
from pathlib import Path

import asyncpg
import grpc
import httpx
from rich.console import Console
from rich.markup import escape

from simulator.entry import run
from tools.drill.faults import FAULTS, ROUNDS, Fault
from tools.drill.report import LiveScreen, hints_of, markdown, print_list, print_results
from tools.drill.run import Result, drilling, play
from tools.stack import Stack, StackError, this_clone

_ERRORS = (*StackError, httpx.HTTPError, asyncpg.PostgresError, OSError, grpc.RpcError)


def main(arguments: list[str] | None = None) -> int:
    """Run drills; 0 if all that was expected was seen."""
    options = _parser().parse_args(arguments)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    if not options.alert:
        print_list(console)
        return 0
    if options.alert != "all" and options.alert not in FAULTS:
        near = difflib.get_close_matches(options.alert, FAULTS, n=3, cutoff=0.4)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        console.print(
            f"[red]There is no alert {escape(options.alert)}.[/]{hint} All of them: make drill", soft_wrap=True
        )
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    return _run(this_clone(), console, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.drill", description=__doc__)
    parser.add_argument("alert", nargs="?", default="", help="an alert's name, or all")
    parser.add_argument("--markdown", metavar="FILE", help="also write the table into a file")
    return parser


def _run(stack: Stack, console: Console, options: argparse.Namespace) -> int:
    began = time.monotonic()
    results: list[Result] = []
    code = 0
    try:
        with drilling(stack) as scene:
            for faults, alerts in rounds(options.alert):
                console.print(f"[bold]{', '.join(fault.name for fault in faults)}[/]")
                for hint in [line for alert in sorted(alerts) for line in hints_of(alert)]:
                    console.print(f"  {escape(hint)}", soft_wrap=True)
                with LiveScreen(console, faults) as screen:
                    results += play(scene, faults, alerts, screen)
            console.print("Putting everything back.")
    except _ERRORS as error:
        console.print(f"[red]{escape(str(error) or type(error).__name__)}[/]", soft_wrap=True)
        code = 1
    except KeyboardInterrupt:
        console.print("[yellow]Interrupted: everything was put back.[/]")
        code = 130
    if results:
        print_results(console, results)
        if options.markdown:
            Path(options.markdown).write_text(markdown(results), "utf-8")
        good = sum(result.good for result in results)
        console.print(f"{good} of {len(results)} alerts as expected, in {time.monotonic() - began:.0f} s.")
    return code or (0 if all(result.good for result in results) else 1)


def rounds(alert: str) -> list[tuple[tuple[Fault, ...], frozenset[str]]]:
    """What is played: for one alert its fault alone."""
    if alert == "all":
        return [(faults, frozenset(name for fault in faults for name in fault.alerts)) for faults in ROUNDS]
    fault = FAULTS[alert]
    return [((fault,), frozenset(fault.alerts))]


if __name__ == "__main__":
    run(main)
