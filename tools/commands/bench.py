"""Measure each process' CPU and memory.

While idle and under load, on a stack of its own.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click
import psutil
from rich.table import Table

from simulator.load import send
from simulator.messages import generate
from tools.base.console import terminal
from tools.stack.ports import Ports
from tools.stack.stack import Stack


@dataclass(frozen=True)
class Usage:
    """What one process, its children included, used in a while.

    Attributes:
        cores: CPU seconds per second.
        mebibytes: resident memory at the end.
    """

    cores: float
    mebibytes: float


def family(stack: Stack, name: str) -> list[psutil.Process]:
    """A component's process and its children."""
    process = psutil.Process(stack.pid(name))
    return [process, *process.children(recursive=True)]


def cpu_seconds(stack: Stack) -> dict[str, float]:
    """CPU seconds used so far by each component."""
    return {name: sum(sum(process.cpu_times()[:2]) for process in family(stack, name)) for name in stack.names}


def memory(stack: Stack, name: str) -> float:
    """Mebibytes of a component; pages shared between its processes count once."""
    return float(sum(process.memory_full_info().pss for process in family(stack, name)) / 2**20)


def usage(stack: Stack, before: dict[str, float], seconds: float) -> dict[str, Usage]:
    """What each component used since `before`."""
    after = cpu_seconds(stack)
    return {name: Usage((after[name] - before[name]) / seconds, memory(stack, name)) for name in stack.names}


@click.command("bench", help=__doc__)
@click.option("--seconds", type=click.IntRange(1), default=60, show_default=True, help="Of each phase.")
@click.option("--rate", type=click.FloatRange(0.1), default=50.0, show_default=True, help="Messages a second.")
def command(seconds: int, rate: float) -> None:
    console = terminal()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        stack = Stack(Path(folder) / "state", Ports.free(), {"service": {"REPLIES_PER_SENDER_PER_MINUTE": "100000"}})
        try:
            console.print("Starting a stack …")
            stack.up()
            time.sleep(10)  # what start-up left to do is not idleness
            console.print(f"Idle for {seconds} s …")
            before, start = cpu_seconds(stack), time.monotonic()
            time.sleep(seconds)
            idle = usage(stack, before, time.monotonic() - start)
            console.print(f"{rate:g} messages/s for {seconds} s …")
            before, start = cpu_seconds(stack), time.monotonic()
            deliveries = generate(seed=7, count=round(seconds * rate))
            secret = stack.service_environment()["WEBHOOK_SECRET"]
            report = send(deliveries, stack.url("service"), secret, rate)
            loaded = usage(stack, before, time.monotonic() - start)
        finally:
            stack.remove()
    table = Table("process", "idle CPU", "idle memory", "loaded CPU", "loaded memory")
    for column in table.columns[1:]:
        column.justify = "right"
    for name in stack.names:
        table.add_row(
            name,
            f"{idle[name].cores:.1%}",
            f"{idle[name].mebibytes:.0f} MiB",
            f"{loaded[name].cores:.1%}",
            f"{loaded[name].mebibytes:.0f} MiB",
        )
    console.print(table)
    console.print(
        f"{report.answered.total()} requests, latency "
        + ", ".join(f"P{round(q * 100)} {report.latency(q) * 1000:.1f} ms" for q in (0.5, 0.95, 0.99))
        + "; CPU in per cent of one core, the sender's not included"
    )
