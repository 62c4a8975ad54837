"""What a message costs the web process: ours, OpenTelemetry's SDK, prometheus_client and none beside each other."""

import random
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from simulator.load import send
from simulator.messages import generate
from tools.base.wait import until
from tools.bench.alternatives import NAMES
from tools.bench.rounds import cpu_seconds
from tools.stack import processes
from tools.stack.ports import HOST, Ports
from tools.stack.processes import Component, answers
from tools.stack.stack import Stack

MESSAGES = 100
RATE = 80.0
CALM = 20.0  # with a profiler each message takes long


@dataclass
class Messages:
    """Of each round, by name."""

    cpu: dict[str, list[float]]
    """CPU seconds of the web process a request."""
    p50: dict[str, list[float]]
    p95: dict[str, list[float]]
    """Latency in seconds."""


def measure(stack: Stack, rounds: int, say: Callable[[str], None]) -> Messages:
    """Bursts of the same messages to a service of each kind, all on one PostgreSQL, Redis and Collector."""
    order = random.Random(11)  # noqa: S311 - not a secret
    found = Messages(_empty(), _empty(), _empty())
    with ExitStack() as running:
        services = {name: running.enter_context(served(stack, name)) for name in NAMES}
        for name in NAMES:
            _burst(stack, *services[name], seed=order.randrange(10**9))  # what is made once is made
        for number in range(rounds):
            say(f"messages: round {number + 1} of {rounds}")
            seed = order.randrange(10**9)
            for index, name in enumerate(order.sample(NAMES, len(NAMES))):
                cpu, latency = _burst(stack, *services[name], seed=seed + index)
                found.cpu[name].append(cpu)
                found.p50[name].append(latency(0.5))
                found.p95[name].append(latency(0.95))
    return found


@contextmanager
def served(
    stack: Stack, name: str, *words: str, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[psutil.Process, str]]:
    """A service of this kind on the stack's databases and Collector; yields its process and its URL.

    Args:
        words: what else `tools.bench.served` is told.
    """
    port = Ports.free().service
    component = Component(
        "served-" + "".join(filter(str.isalnum, name)),
        (sys.executable, "-m", "tools.bench.served", name, str(port), *words),
        ready=lambda: answers(f"http://{HOST}:{port}/health", accept_any=True),
        environment=stack.service_environment() | dict(stack.environment.get("service", {})) | dict(environment or {}),
    )
    process = processes.start(component, stack.folder)
    try:
        processes.wait_ready(component, process, stack.folder)
        yield process, f"http://{HOST}:{port}"
    finally:
        processes.stop(process, component.stop_signal, component.stop_seconds)
        process.wait(processes.KILL_SECONDS)


def calls(stack: Stack, name: str, messages: int, file: Path) -> float:
    """Python functions called in the main thread for a message, once it is warm; no load moves it."""
    secret = stack.service_environment()["WEBHOOK_SECRET"]
    seeds = random.Random(name)  # noqa: S311 - not a secret; a message that was sent before is a duplicate
    with served(stack, name, str(file)) as (process, url):
        seen = []
        for _ in range(2):
            file.unlink(missing_ok=True)
            send(generate(seed=seeds.randrange(10**9), count=messages), url, secret, CALM)
            process.send_signal(signal.SIGUSR1)
            seen.append(_number(file))
    return (seen[1] - seen[0]) / messages


def _empty() -> dict[str, list[float]]:
    return {name: [] for name in NAMES}


def _number(file: Path) -> int:
    return int(until(lambda: file.is_file() and file.read_text("utf-8"), "the number of calls is written"))


def _burst(stack: Stack, process: psutil.Process, url: str, seed: int) -> tuple[float, Callable[[float], float]]:
    before = cpu_seconds(process.pid)
    secret = stack.service_environment()["WEBHOOK_SECRET"]
    report = send(generate(seed=seed, count=MESSAGES), url, secret, RATE)
    return (cpu_seconds(process.pid) - before) / report.answered.total(), report.latency
