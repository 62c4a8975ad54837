"""`/health`: can the service do its job, and the figures to look at first."""

import asyncio
from collections.abc import Awaitable

import httpx
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from opentelemetry.instrumentation.utils import suppress_instrumentation

from app.observability.levels import QUEUE_SIZE
from app.outbox.queue import dead_jobs

router = APIRouter()

_SECONDS = 1.0


@router.get("/health")
async def health(request: Request) -> JSONResponse:
    """200 while messages can be answered, `degraded` when Redis or the Collector is away; 503 without PostgreSQL."""
    state = request.app.state
    with suppress_instrumentation():  # a probe every few seconds would be most of the traces
        postgresql, redis, collector = await asyncio.gather(
            _check(state.pool.fetchval("select 1", timeout=_SECONDS)),
            _check(state.cache.client.execute_command("PING")),
            _check(_get(state.http, state.settings.collector_health_url)),
        )
        dead = await dead_jobs(state.pool) if postgresql == "up" else {}
    checks = {"postgresql": postgresql, "redis": redis, "collector": collector}
    able = postgresql == "up"
    return JSONResponse(
        {
            "status": ("ok" if all(check == "up" for check in checks.values()) else "degraded")
            if able
            else "unavailable",
            "checks": checks,
            "mem0_write_queue_size": QUEUE_SIZE.get(),
            "dead_jobs": dead,
            "spans_lost": state.telemetry.lost.by_reason(),
        },
        200 if able else 503,
    )


async def _check(probe: Awaitable[object]) -> str:
    try:
        await asyncio.wait_for(probe, _SECONDS)
    except Exception:  # any failure means the same, and its text may hold an address or more
        return "down"
    return "up"


async def _get(client: httpx.AsyncClient, url: str) -> None:
    (await client.get(url, timeout=_SECONDS)).raise_for_status()
