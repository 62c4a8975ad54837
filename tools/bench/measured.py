"""All that `make bench` measures, in its order."""

import os
import platform
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from simulator.load import Report
from tools.bench import blocks, collectors, messages, processes, visible
from tools.bench.alternatives import NAMES
from tools.bench.collectors import Growth
from tools.bench.messages import Messages
from tools.bench.processes import Usage
from tools.stack.ports import Ports
from tools.stack.stack import Stack

PARTS = ("spans", "messages", "calls", "collector", "growth", "visible", "processes")
CALLS = 100
RECORDED = 300
SECONDS = 30.0


@dataclass
class Measured:
    """What was asked for, the rest is None."""

    rounds: int
    machine: str
    load: float
    """Processes that wanted to run when it began, on average of a minute: what is quoted should be got near 0."""
    spans: dict[str, list[float]] | None = None
    messages: Messages | None = None
    calls: dict[str, float] = field(default_factory=dict)
    collector: dict[str, dict[str, list[float]]] | None = None
    growth: list[Growth] | None = None
    visible: list[float] | None = None
    idle: dict[str, Usage] | None = None
    loaded: tuple[dict[str, Usage], Report] | None = None


def measure(folder: Path, parts: Collection[str], rounds: int, rate: float, say: Callable[[str], None]) -> Measured:
    """Each of PARTS that is asked for, on a stack of its own."""
    found = Measured(rounds, machine(), psutil.getloadavg()[0])
    if "spans" in parts:
        found.spans = blocks.measure(rounds, say)
    if set(parts) == {"spans"}:
        return found
    stack = Stack(folder, Ports.free(), {"service": {"REPLIES_PER_SENDER_PER_MINUTE": "100000"}})
    try:
        say("starting a stack")
        stack.up()
        _on(stack, found, parts, rate, say)
    finally:
        stack.remove()
    return found


def _on(stack: Stack, found: Measured, parts: Collection[str], rate: float, say: Callable[[str], None]) -> None:
    if "processes" in parts:
        say(f"processes: idle for {SECONDS:g} s")
        found.idle = processes.idle(stack, SECONDS)
        say(f"processes: {rate:g} messages a second for {SECONDS:g} s")
        found.loaded = processes.loaded(stack, SECONDS, rate)
    if "visible" in parts:
        found.visible = visible.measure(stack, 2 * found.rounds, say)
    stack.stop("worker")  # from here on the web process is measured
    if "messages" in parts:
        found.messages = messages.measure(stack, found.rounds, say)
    if "calls" in parts:
        say("calls")
        found.calls = {name: messages.calls(stack, name, CALLS, stack.folder / "calls") for name in NAMES}
    if not {"collector", "growth"}.isdisjoint(parts):
        say("recording what the service sends")
        recorded = collectors.record(stack, RECORDED)
        for name in ("service", "simulator", "prometheus"):
            stack.stop(name)
        if "collector" in parts:
            found.collector = collectors.measure(recorded, found.rounds, say)
        if "growth" in parts:
            found.growth = collectors.grow(recorded, say)


def machine() -> str:
    """What it ran on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text("utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    system = f"{platform.system()} {platform.release()}"
    return f"{os.cpu_count()} cores ({model}), {system}, Python {platform.python_version()}"
