"""CPU and memory of each process while idle and under load, on a stack of its own: `make bench`."""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from simulator.entry import run
from simulator.load import send
from simulator.messages import generate
from tools.components import Ports
from tools.stack import Stack


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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="of each phase (default: 60)")
    parser.add_argument("--rate", type=float, default=50.0, help="messages a second under load (default: 50)")
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        stack = Stack(Path(folder) / "state", Ports.free(), {"service": {"REPLIES_PER_SENDER_PER_MINUTE": "100000"}})
        try:
            console.print("Starting a stack …")
            stack.up()
            time.sleep(10)  # what start-up left to do is not idleness
            console.print(f"Idle for {options.seconds} s …")
            before, start = cpu_seconds(stack), time.monotonic()
            time.sleep(options.seconds)
            idle = usage(stack, before, time.monotonic() - start)
            console.print(f"{options.rate:g} messages/s for {options.seconds} s …")
            before, start = cpu_seconds(stack), time.monotonic()
            deliveries = generate(seed=7, count=round(options.seconds * options.rate))
            secret = stack.service_environment()["WEBHOOK_SECRET"]
            report = send(deliveries, stack.url("service"), secret, options.rate)
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


if __name__ == "__main__":
    run(main)
