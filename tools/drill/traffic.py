"""What patients and strangers send during a drill: streams of the simulator's messages, each at a rate of its own.

Nothing is sent again: Evolution's repetitions would go on long after a drill.
"""

import asyncio
import contextlib
import itertools
import random
import threading
from collections.abc import Callable, Mapping
from typing import Literal, Self

import httpx

from simulator.messages import LANES, PATIENTS, Delivery, deliver

Stream = Literal["known", "new", "complex", "duplicate", "rejected"]
Rates = Mapping[Stream, float]
"""Messages a second by stream."""

Make = Callable[[random.Random], Delivery]

FIRST_NEW, LAST_NEW = 500_000, 999_999  # no patient of the simulator's has such a number
_CONNECTIONS = 100
_TIMEOUT_SECONDS = 20.0

_LANES = [lane for lane, share in LANES.items() for _ in range(share)]


def _known() -> Make:
    """The simulator's usual patients and questions."""
    lanes = itertools.cycle(_LANES)
    return lambda rng: deliver(rng, "text", next(lanes), rng.randint(1, PATIENTS))


def _new() -> Make:
    """Somebody who never wrote before."""
    return lambda rng: deliver(rng, "text", "faq", rng.randint(FIRST_NEW, LAST_NEW))


def _complex() -> Make:
    """What only a person can answer."""
    return lambda rng: deliver(rng, "text", "complex", rng.randint(1, PATIENTS))


def _rejected() -> Make:
    """With a wrong secret."""
    return lambda rng: deliver(rng, "bad_secret", "faq", rng.randint(1, PATIENTS))


def _duplicate() -> Make:
    """The same message again and again."""
    first: list[Delivery] = []

    def again(rng: random.Random) -> Delivery:
        first.extend([] if first else [deliver(rng, "text", "faq", rng.randint(1, PATIENTS))])
        return first[0]

    return again


_MAKERS: dict[Stream, Callable[[], Make]] = {
    "known": _known,
    "new": _new,
    "complex": _complex,
    "rejected": _rejected,
    "duplicate": _duplicate,
}


class Traffic:
    """Streams that flow from `with` on until its end, whatever becomes of the messages.

    Args:
        url: the service, without a path.
        secret: the webhook's.
        rates: what to send.
    """

    def __init__(self, url: str, secret: str, rates: Rates) -> None:
        self._url, self._secret, self._rates = url, secret, rates
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._flow())

    async def _flow(self) -> None:
        limits = httpx.Limits(max_connections=_CONNECTIONS)
        async with httpx.AsyncClient(
            base_url=self._url, timeout=_TIMEOUT_SECONDS, limits=limits, trust_env=False
        ) as client:
            streams = [self._stream(client, _MAKERS[name](), rate) for name, rate in self._rates.items()]
            await asyncio.gather(*streams)

    async def _stream(self, client: httpx.AsyncClient, make: Make, rate: float) -> None:
        rng = random.Random()  # noqa: S311 - other messages in each drill: the same ones would be duplicates
        start, index, open_calls = self._loop.time(), 0, set()
        while not self._ended.is_set():
            call = asyncio.create_task(self._send(client, make(rng)))
            open_calls.add(call)
            call.add_done_callback(open_calls.discard)
            index += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), max(0.0, start + index / rate - self._loop.time()))
        for call in list(open_calls):
            call.cancel()
        await asyncio.gather(*open_calls, return_exceptions=True)

    async def _send(self, client: httpx.AsyncClient, delivery: Delivery) -> None:
        headers = {
            "X-Webhook-Secret": self._secret if delivery.genuine else "wrong",
            "Content-Type": "application/json",
        }
        with contextlib.suppress(httpx.HTTPError):  # a drill breaks what answers
            await client.post(delivery.path, content=delivery.body, headers=headers)
