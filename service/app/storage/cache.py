"""Redis as a cache: it may be down or hung, and costs a bounded time then, never an answer."""

import json
import logging
import time
from typing import Any

from opentelemetry.trace import Span
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.observability.instrumentation import instrument_cache
from app.observability.tracing import mark_error, trace_span

log = logging.getLogger(__name__)

CALL_SECONDS = 0.2
BREAK_SECONDS = 2.0  # after a failure nothing is tried for so long: a hung Redis costs 0.2 s every 2 s, not per call


class Cache:
    """A Redis client with short time-outs, no retries and a breaker.

    Args:
        url: `redis://…`; redis-py's default of three retries costs 4 s a call when refused, over 20 s when hung.
    """

    def __init__(self, url: str) -> None:
        self.client: Redis = Redis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=CALL_SECONDS,
            socket_timeout=CALL_SECONDS,
            decode_responses=True,
        )
        instrument_cache(self.client)
        self._broken_until = 0.0

    async def get(self, cache_type: str, key: str) -> Any | None:
        """The cached JSON value, or None; a failed look-up is a miss."""
        attributes = {"operation": "get", "cache_type": cache_type}
        with trace_span("cache.get", attributes) as span:
            text = await self.command(span, "cache", "GET", f"{cache_type}:{key}")
            value = None
            if text is not None:
                try:
                    value = json.loads(text)
                except ValueError as error:  # somebody else's value, or half of ours
                    mark_error(span, "cache", error)
            span.set_attribute("result", "miss" if value is None else "hit")
        return value

    async def set(self, cache_type: str, key: str, value: Any, seconds: int) -> None:
        """Keep a JSON value for some seconds."""
        with trace_span("cache.set", {"operation": "set", "cache_type": cache_type}) as span:
            await self.command(span, "cache", "SET", f"{cache_type}:{key}", json.dumps(value), "EX", seconds)

    async def delete(self, cache_type: str, key: str) -> None:
        """Forget a value."""
        with trace_span("cache.delete", {"operation": "delete", "cache_type": cache_type}) as span:
            await self.command(span, "cache", "DEL", f"{cache_type}:{key}")

    async def command(self, span: Span, component: str, *words: str | int) -> Any | None:
        """Run one command; None where Redis does not answer, with the error counted on the span for the component."""
        if time.monotonic() < self._broken_until:
            return None
        try:
            return await self.client.execute_command(*words)  # type: ignore[no-untyped-call]
        except (RedisError, OSError) as error:
            self._broken_until = time.monotonic() + BREAK_SECONDS
            mark_error(span, component, error)
            log.warning("Redis does not answer (%s), going on without it", type(error).__name__)
            return None

    async def close(self) -> None:
        """Close all connections."""
        await self.client.aclose()
