"""`/health`: can the service do its job, and the figures to look at first."""

import asyncio
from collections.abc import Awaitable

import asyncpg
import httpx
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from opentelemetry.instrumentation.utils import suppress_instrumentation
from starlette.datastructures import State

from app.observability.levels import QUEUE_SIZE
from app.outbox.queue import dead_jobs
from app.storage.database import Pool

router = APIRouter()

_SECONDS = 1.0
_WAITING_SECONDS = 15.0  # a Collector's restart takes 3


@router.get("/health")
async def health(request: Request) -> JSONResponse:
    """200 while messages can be answered, `degraded` when Redis or the Collector is away, or takes no spans; else 503.

    That is without PostgreSQL or its schema (`unavailable`), and before and after serving (`starting`, `stopping`).
    """
    state = request.app.state
    checks, dead = await _checks(state) if state.phase == "serving" else ({}, {})
    able = checks.get("postgresql") == "up"
    waiting = state.telemetry.spool.waiting_seconds  # the Collector may be up for everybody, and not for this process
    if state.phase != "serving":  # also when it changed meanwhile
        status, able = state.phase, False
    elif able:
        well = all(check == "up" for check in checks.values()) and waiting < _WAITING_SECONDS
        status = "ok" if well else "degraded"
    else:
        status = "unavailable"
    return JSONResponse(
        {
            "status": status,
            "checks": checks,
            "mem0_write_queue_size": QUEUE_SIZE.get(),
            "dead_jobs": dead,
            "spans_waiting_seconds": round(waiting),
            "spans_lost": state.telemetry.lost.by_reason(),
        },
        200 if able else 503,
    )


async def _checks(state: State) -> tuple[dict[str, str], dict[str, int]]:
    """What is up, and the dead jobs by kind."""
    with suppress_instrumentation():  # a probe every few seconds would be most of the traces
        (postgresql, dead), redis, collector = await asyncio.gather(
            _postgresql(state.pool),
            _check(state.cache.client.execute_command("PING")),
            _check(_get(state.http, state.settings.collector_health_url)),
        )
    return {"postgresql": postgresql, "redis": redis, "collector": collector}, dead


async def _postgresql(pool: Pool) -> tuple[str, dict[str, int]]:
    """Whether it can be worked with, and the dead jobs. Without its schema, at a first start, it can't be."""
    if await _check(pool.fetchval("select 1", timeout=_SECONDS)) == "down":
        return "down", {}
    try:
        return "up", await dead_jobs(pool)
    except asyncpg.UndefinedTableError:
        return "without schema", {}
    except Exception:  # away since, or slow
        return "down", {}


async def _check(probe: Awaitable[object]) -> str:
    try:
        await asyncio.wait_for(probe, _SECONDS)
    except Exception:  # any failure means the same, and its text may hold an address or more
        return "down"
    return "up"


async def _get(client: httpx.AsyncClient, url: str) -> None:
    (await client.get(url, timeout=_SECONDS)).raise_for_status()
