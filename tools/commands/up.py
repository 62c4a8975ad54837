"""Start everything without Docker, and send a few messages.

The first time the Go programs are built, in the order of need: the first series are there after some minutes, and
the rest joins. Release binaries on PATH, or in the folder that PROGRAMS names, are used instead.
"""

import subprocess
import sys
import time

import click
from rich.console import Console

from tools.base.console import terminal
from tools.base.errors import ToolError
from tools.base.prometheus import Prometheus, PrometheusError
from tools.drill import restore
from tools.stack.builds import LATER, Tell
from tools.stack.processes import READY_SECONDS
from tools.stack.programs import locked
from tools.stack.progress import Display, print_addresses, print_damage
from tools.stack.stack import Stack, this_clone
from tools.stack.where import only_processes

FIRST_MESSAGES = 12


@click.command("up", help=__doc__)
def command() -> None:
    only_processes("docker compose up -d starts what is missing of it, docker compose down stops it")
    stack, console, began = this_clone(), terminal(), time.monotonic()
    stack.make_folder()
    with locked(stack.folder / "lock", lambda text: console.print(f"up: {text}")):
        if stack.pid("postgres"):
            restore.undo_left(stack, console.print)
        if all(map(stack.pid, stack.names)):
            console.print("Everything is running already.")
            print_addresses(console, stack.url, stack.names)
            return
        stack.write_choices()
        start(stack, console, began)
    print_damage(console, stack.folder)
    print_addresses(console, stack.url, stack.names)


def start(stack: Stack, console: Console, began: float) -> None:
    """Start what there are series with, send the first messages, then let the rest join. Raises ToolError."""
    with Display(console) as display, stack.builds(display.report) as builds:
        later = [name for name in LATER if name in builds.missing]
        stack.up([name for name in stack.names if name not in later], display.report, builds)
        restore.undo_left(stack, console.print)  # of a stack that was away since; else there is nothing left
        seconds = time.monotonic() - began
        if later:
            console.print(f"Ready after {seconds:.1f} s but for {' and '.join(later)}, still to be built.")
        else:
            console.print(f"Everything is ready after {seconds:.1f} s.")
        send_first_messages(stack, display.report)
        seconds = time.monotonic() - began
        console.print(f"The first documented series are in Prometheus {seconds:.1f} s after the start.")
        if later:
            print_addresses(console, stack.url, [name for name in stack.names if name not in later])
            stack.up(later, display.report, builds)
            console.print(f"Everything is ready after {time.monotonic() - began:.1f} s.")


def send_first_messages(stack: Stack, report: Tell) -> None:
    """Send some and wait until Prometheus shows them: nobody shall look at an empty screen. Raises ToolError."""
    load = ("load", "--messages", str(FIRST_MESSAGES), "--rate", "20", "--everyday", "--quiet", "--no-verify")
    sent_at = time.time()
    report("first series", f"sending {FIRST_MESSAGES} messages, waiting until Prometheus shows them")
    if stack.run((sys.executable, "-m", "simulator", *load), stdout=subprocess.DEVNULL):
        raise ToolError("everything runs, but the first messages failed: make logs S=service")
    end = time.monotonic() + READY_SECONDS
    with Prometheus(stack.url("prometheus")) as asked:
        while not _counted(asked, sent_at):
            if time.monotonic() > end:
                raise ToolError("everything runs, but Prometheus shows no series: make logs S=otel-collector")
            time.sleep(0.2)
    report("first series", "ready")


def _counted(prometheus: Prometheus, since: float) -> bool:
    """Whether messages sent since then are in Prometheus: of a new counter it shows 0 at first, of a histogram all."""
    counter, histogram = (
        f"sum({name} and timestamp({name}) > {since})"  # it remembers those of an earlier run for five minutes
        for name in ("webhook_requests_total", "webhook_request_duration_seconds_count")
    )
    try:
        return bool(prometheus.query(f"{counter} == {histogram} > 0"))
    except PrometheusError:  # it was stopped meanwhile; the deadline says so
        return False
