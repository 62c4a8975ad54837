"""PostgreSQL: the pool, the schema."""

import asyncio
import logging
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
from opentelemetry.instrumentation.utils import suppress_instrumentation

log = logging.getLogger(__name__)

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = Any  # a pool's proxy of asyncpg.Connection, which has no common base with it

CONNECT_SECONDS = 2.0
QUERY_SECONDS = 5.0  # by asyncpg's own option: a query cancelled from outside would look like a success in its span
ACQUIRE_SECONDS = 5.0

_SCHEMA_LOCK = 7_306_001


async def open_pool(dsn: str, size: int) -> Pool:
    """A pool that connects on demand, so that the process starts while PostgreSQL is away."""
    return await asyncpg.create_pool(
        dsn, min_size=0, max_size=size, timeout=CONNECT_SECONDS, command_timeout=QUERY_SECONDS, reset=_no_reset
    )


async def _no_reset(_: Connection) -> None:
    """Nothing: we keep no session state (no LISTEN, SET, session locks, temporary tables), and a reset is a round trip.

    asyncpg rolls an open transaction back by itself.
    """


async def prepare_schema(pool: Pool, *, demo_catalog: bool) -> None:
    """Apply schema.sql, repeating until PostgreSQL answers."""
    folder = Path(__file__).parent
    statements = (folder / "schema.sql").read_text("utf-8")
    if demo_catalog:
        statements += (folder / "demo.sql").read_text("utf-8")
    with suppress_instrumentation():
        while True:
            try:
                async with pool.acquire(timeout=ACQUIRE_SECONDS) as connection, connection.transaction():
                    await connection.execute(f"select pg_advisory_xact_lock({_SCHEMA_LOCK})")
                    await connection.execute(statements)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("PostgreSQL is not ready (%s), trying again", type(error).__name__)
                await asyncio.sleep(1)
            else:
                return
