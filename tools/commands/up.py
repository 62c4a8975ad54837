"""Start everything without Docker, and send a few messages.

The first time the Go programs are built, in the order of need: the first series are there after some minutes, and
the rest joins. Release binaries on PATH, or in the folder that PROGRAMS names, are used instead.
"""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import click
from rich.console import Console

from tools.base.console import terminal
from tools.base.errors import ToolError
from tools.base.prometheus import Prometheus, PrometheusError
from tools.drill import restore
from tools.stack.builds import LATER, Tell
from tools.stack.processes import POLL_SECONDS, READY_SECONDS, answers
from tools.stack.programs import ROOT, locked
from tools.stack.progress import Display, print_addresses, print_damage
from tools.stack.stack import Stack, this_clone
from tools.stack.where import only_processes

MESSAGES = 12
LOAD = (
    *(sys.executable, "-m", "simulator", "load", "--messages", str(MESSAGES)),
    *("--rate", "20", "--everyday", "--quiet", "--no-verify"),
)
TAKERS = ("postgres", "redis", "simulator", "service", "otel-collector")
"""Who handles and counts a message; what the worker has to do for it waits in the outbox."""


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
    with (
        Display(console) as display,
        FirstMessages(stack, display.report) as messages,
        stack.builds(display.report) as builds,
    ):
        later = [name for name in LATER if name in builds.missing]
        stack.up([name for name in stack.names if name not in later], messages.report, builds)
        restore.undo_left(stack, console.print)  # of a stack that was away since; else there is nothing left
        seconds = time.monotonic() - began
        if later:
            console.print(f"Ready after {seconds:.1f} s but for {' and '.join(later)}, still to be built.")
        else:
            console.print(f"Everything is ready after {seconds:.1f} s.")
        messages.wait()
        seconds = time.monotonic() - began
        console.print(f"The first documented series are in Prometheus {seconds:.1f} s after the start.")
        if later:
            print_addresses(console, stack.url, [name for name in stack.names if name not in later])
            stack.up(later, display.report, builds)
            console.print(f"Everything is ready after {time.monotonic() - began:.1f} s.")


class FirstMessages:
    """Nobody shall look at an empty screen: sends some as soon as they are taken, while the rest still starts."""

    def __init__(self, stack: Stack, report: Tell) -> None:
        self._stack = stack
        self._report = report
        self._away = {name for name in TAKERS if stack.pid(name) is None}
        self._ended = threading.Event()
        self._pool = ThreadPoolExecutor(1, "first messages")
        self._sent: Future[float] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._pool.shutdown()

    def report(self, name: str, state: str) -> None:
        """Tell of a component's new state, and send once all are ready that have to be."""
        self._report(name, state)
        if state == "ready":
            self._away.discard(name)
        if not self._away:
            self._begin()

    def wait(self) -> None:
        """Until Prometheus shows them. Raises ToolError."""
        sent_at = self._begin().result()
        end = time.monotonic() + READY_SECONDS
        with Prometheus(self._stack.url("prometheus")) as asked:
            while not _counted(asked, sent_at):
                if time.monotonic() > end:
                    raise ToolError("everything runs, but Prometheus shows no series: make logs S=otel-collector")
                time.sleep(0.2)
        self._report("first series", "ready")

    def _begin(self) -> Future[float]:
        if self._sent is None:
            self._report("first series", f"sending {MESSAGES} messages, waiting until Prometheus shows them")
            self._sent = self._pool.submit(self._send)
        return self._sent

    def _send(self) -> float:
        """When it began. Raises ToolError."""
        end = time.monotonic() + READY_SECONDS
        while (
            not answers(f"{self._stack.url('service')}/health") and time.monotonic() < end
        ):  # a first one has no schema
            if self._ended.wait(POLL_SECONDS):
                break
        sent_at = time.time()
        environment = os.environ | self._stack.service_environment()
        with subprocess.Popen(LOAD, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None:
                if self._ended.wait(POLL_SECONDS):
                    process.kill()
        if process.returncode:
            raise ToolError("everything runs, but the first messages failed: make logs S=service")
        return sent_at


def _counted(prometheus: Prometheus, since: float) -> bool:
    """Whether messages sent since then are in Prometheus: of a new counter it shows 0 at first, of a histogram all."""
    counter, histogram = (
        f"sum({name} and timestamp({name}) > {since})"  # it remembers those of an earlier run for five minutes
        for name in ("webhook_requests_total", "webhook_request_duration_seconds_count")
    )
    try:
        # Counters too: a `make load` that begins before they have caught up would find more counted than it sent.
        return bool(prometheus.query(f"{counter} == {histogram} >= {MESSAGES}"))
    except PrometheusError:  # it was stopped meanwhile; the deadline says so
        return False
