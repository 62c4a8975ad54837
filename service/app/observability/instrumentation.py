"""FastAPI, redis and asyncpg, instrumented by their OpenTelemetry packages."""

from fastapi import FastAPI
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from redis.asyncio import Redis

# A search over the whole URL, split at commas: unanchored, a stranger's /webhooks/evolution/health would be invisible.
_NOT_TRACED = r"^https?://[^/]+/(health|metrics(/summary)?)$"


def instrument_app(app: FastAPI) -> None:
    """A SERVER span for each request.

    Call it before the app serves: later it is silently ignored, and FastAPI's own telemetry comes instead.
    """
    FastAPIInstrumentor.instrument_app(
        app,
        excluded_urls=_NOT_TRACED,
        exclude_spans=["receive", "send"],
        meter_provider=NoOpMeterProvider(),  # durations come from the spans
    )


def instrument_database() -> None:
    """A CLIENT span for each query of any asyncpg connection in this process."""
    instrumentor = AsyncPGInstrumentor()  # type: ignore[no-untyped-call]
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument()


def instrument_cache(client: Redis) -> None:
    """A CLIENT span for each command of this client."""
    RedisInstrumentor.instrument_client(client)
