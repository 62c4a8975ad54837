"""Sends deliveries the way Evolution does: open loop, with its retries. Counts what the service answered."""

import asyncio
import math
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import httpx

from simulator.messages import Delivery

CONCURRENCY = 64  # requests in flight at most; what waits for its turn is counted in the latency
TIMEOUT_SECONDS = 30.0
ATTEMPTS = 10
FIRST_DELAY_SECONDS = 5.0
LONGEST_DELAY_SECONDS = 300.0
NOT_REPEATED = frozenset({400, 401, 403, 404, 422})


@dataclass
class Report:
    """What became of the deliveries. Each attempt that was answered is one request in the metrics."""

    answered: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Requests by (lane, status), as the service answered them."""
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=100_000))
    """Seconds from when an attempt was due to its answer; the newest only, since traffic may run for months."""
    finished: int = 0
    """Deliveries that are done: accepted, refused for good, or given up."""
    retries: int = 0
    unanswered: int = 0
    """Attempts without an answer (refused, timed out): the service may have counted them or not."""
    given_up: int = 0
    started: float = field(default_factory=time.monotonic)
    last_answer: float = field(default_factory=time.monotonic)

    def latency(self, quantile: float) -> float:
        """The latency in seconds that this share of the answered attempts did not exceed; NaN without any."""
        ordered = sorted(self.latencies)
        return ordered[max(0, math.ceil(quantile * len(ordered)) - 1)] if ordered else math.nan


def send(deliveries: Iterable[Delivery], url: str, secret: str, rate: float) -> Report:
    """Send at `rate` a second to the service at `url` (no path), and wait until each delivery is done."""
    return asyncio.run(send_async(deliveries, url, secret, rate))


async def send_async(
    deliveries: Iterable[Delivery],
    url: str,
    secret: str,
    rate: float,
    report: Report | None = None,
    on_finished: Callable[[], None] = lambda: None,
) -> Report:
    """The same in a running event loop; a `report` handed in can be read meanwhile, and after a cancellation."""
    report = report or Report()
    slots = asyncio.Semaphore(CONCURRENCY)
    loop = asyncio.get_running_loop()
    start = loop.time()

    async def deliver(delivery: Delivery) -> None:
        await _until_done(client, slots, delivery, secret, report)
        report.finished += 1
        on_finished()

    # The environment's proxy is not for this: the service is on this machine or in the same network.
    async with (
        httpx.AsyncClient(base_url=url, timeout=TIMEOUT_SECONDS, trust_env=False) as client,
        asyncio.TaskGroup() as tasks,
    ):
        for index, delivery in enumerate(deliveries):
            await asyncio.sleep(max(0.0, start + index / rate - loop.time()))
            tasks.create_task(deliver(delivery))
    return report


async def _until_done(
    client: httpx.AsyncClient, slots: asyncio.Semaphore, delivery: Delivery, secret: str, report: Report
) -> None:
    headers = {"X-Webhook-Secret": secret if delivery.genuine else "wrong", "Content-Type": "application/json"}
    delay = FIRST_DELAY_SECONDS
    for attempt in range(1, ATTEMPTS + 1):
        due = time.monotonic()
        async with slots:
            try:
                response = await client.post(delivery.path, content=delivery.body, headers=headers)
            except httpx.TransportError:
                report.unanswered += 1
            else:
                report.last_answer = time.monotonic()
                report.latencies.append(report.last_answer - due)
                report.answered[_outcome(response)] += 1
                if response.is_success or response.status_code in NOT_REPEATED:
                    return
        if attempt < ATTEMPTS:
            await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311  jitter
            delay = min(delay * 2, LONGEST_DELAY_SECONDS)
            report.retries += 1
    report.given_up += 1


def _outcome(response: httpx.Response) -> tuple[str, str]:
    """(lane, status) as the answer says; where the handler did not get to say it, by the code."""
    code = response.status_code
    if code in (404, 405) or response.is_redirect:
        return "none", f"HTTP {code}"  # not a webhook: the service does not count it as one
    by_code = "error" if code >= 500 else "rejected" if code >= 400 else "success"
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return "none", by_code
    return str(body.get("lane", "none")), str(body.get("status", by_code))
