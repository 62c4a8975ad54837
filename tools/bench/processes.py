"""What each process of the whole stack takes: idle, and under load."""

import time
from dataclasses import dataclass

import psutil

from simulator.load import Report, send
from simulator.messages import generate
from tools.bench.rounds import cpu_seconds
from tools.stack.stack import Stack


@dataclass(frozen=True)
class Usage:
    """What one component, its child processes included, used in a while.

    Attributes:
        cores: CPU seconds per second.
        mebibytes: memory at the end; pages shared between its processes count once.
    """

    cores: float
    mebibytes: float


def idle(stack: Stack, seconds: float) -> dict[str, Usage]:
    """While nothing comes."""
    before, start = _cpu(stack), time.monotonic()
    time.sleep(seconds)
    return _usage(stack, before, time.monotonic() - start)


def loaded(stack: Stack, seconds: float, rate: float) -> tuple[dict[str, Usage], Report]:
    """While so many messages a second come."""
    before, start = _cpu(stack), time.monotonic()
    secret = stack.service_environment()["WEBHOOK_SECRET"]
    report = send(generate(seed=7, count=round(seconds * rate)), stack.url("service"), secret, rate)
    return _usage(stack, before, time.monotonic() - start), report


def _family(stack: Stack, name: str) -> list[psutil.Process]:
    process = psutil.Process(stack.pid(name))
    return [process, *process.children(recursive=True)]


def _cpu(stack: Stack) -> dict[str, float]:
    return {name: sum(cpu_seconds(process.pid) for process in _family(stack, name)) for name in stack.names}


def _usage(stack: Stack, before: dict[str, float], seconds: float) -> dict[str, Usage]:
    after = _cpu(stack)
    return {
        name: Usage(
            (after[name] - before[name]) / seconds,
            sum(process.memory_full_info().pss for process in _family(stack, name)) / 2**20,
        )
        for name in stack.names
    }
