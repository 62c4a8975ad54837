"""How long after the webhook's answer Prometheus knows of a message."""

import time
from collections.abc import Callable

import httpx

from simulator.load import send
from simulator.messages import generate
from tools.stack.stack import Stack

LONGEST_SECONDS = 60.0


def measure(stack: Stack, samples: int, say: Callable[[str], None]) -> list[float]:
    """Seconds from the answer to the first query that counts it, of one message after the other."""
    found = []
    for number in range(samples):
        say(f"webhook to Prometheus: {number + 1} of {samples}")
        before = _counted(stack)
        report = send(generate(seed=1000 + number, count=1), stack.url("service"), _secret(stack), 1.0)
        answered = time.monotonic()
        wanted = before + report.answered.total()
        while _counted(stack) < wanted:
            if time.monotonic() - answered > LONGEST_SECONDS:
                raise TimeoutError(f"a message was not in Prometheus after {LONGEST_SECONDS:.0f} s")
            time.sleep(0.05)
        found.append(time.monotonic() - answered)
        time.sleep(number * 0.37 % 5)  # not in step with flushes and scrapes
    return found


def _secret(stack: Stack) -> str:
    return stack.service_environment()["WEBHOOK_SECRET"]


def _counted(stack: Stack) -> int:
    url = stack.url("prometheus") + "/api/v1/query"
    rows = httpx.get(url, params={"query": "sum(webhook_requests_total)"}, trust_env=False).json()["data"]["result"]
    return int(float(rows[0]["value"][1])) if rows else 0
