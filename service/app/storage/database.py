"""PostgreSQL: the pool, the schema."""

import asyncio
import contextlib
import logging
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import asyncpg
from opentelemetry.instrumentation.utils import suppress_instrumentation

from app.environment import SettingError
from app.observability.logs import reason
from app.settings import Settings

log = logging.getLogger(__name__)

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = Any  # a pool's proxy of asyncpg.Connection, which has no common base with it

CONNECT_SECONDS = 2.0
QUERY_SECONDS = 5.0  # by asyncpg's own option: a query cancelled from outside would look like a success in its span
ACQUIRE_SECONDS = 5.0

_SCHEMA_LOCK = 7_306_001
_DEMO_DAYS, _DEMO_HOURS = range(1, 31), (9, 11, 14, 16)


class PooledConnection(asyncpg.Connection):  # type: ignore[misc]  # it has no types
    """A connection by way of a pooler in transaction mode, which may give each transaction another server connection.

    asyncpg prepares and executes a query in two round trips, without a transaction on two connections: there the
    statement is missing, or is somebody else's. So what takes arguments or gives rows is a transaction here.
    """

    async def fetch(self, query: str, *arguments: Any, **options: Any) -> Any:
        """As asyncpg's."""
        async with self._in_one():
            return await super().fetch(query, *arguments, **options)

    async def fetchrow(self, query: str, *arguments: Any, **options: Any) -> Any:
        """As asyncpg's."""
        async with self._in_one():
            return await super().fetchrow(query, *arguments, **options)

    async def fetchval(self, query: str, *arguments: Any, **options: Any) -> Any:
        """As asyncpg's."""
        async with self._in_one():
            return await super().fetchval(query, *arguments, **options)

    async def execute(self, query: str, *arguments: Any, **options: Any) -> Any:
        """As asyncpg's; without arguments it is one round trip, as are BEGIN and COMMIT."""
        async with self._in_one() if arguments else contextlib.nullcontext():
            return await super().execute(query, *arguments, **options)

    def _in_one(self) -> contextlib.AbstractAsyncContextManager[Any]:
        return contextlib.nullcontext() if self.is_in_transaction() else self.transaction()


async def open_pool(settings: Settings, size: int) -> Pool:
    """A pool that connects on demand, so that the process starts while PostgreSQL is away."""
    pooled = {"connection_class": PooledConnection, "statement_cache_size": 0} if settings.database_pooler else {}
    return await asyncpg.create_pool(
        settings.database_url.get_secret_value(),
        min_size=0,
        max_size=size,
        timeout=CONNECT_SECONDS,
        command_timeout=QUERY_SECONDS,
        reset=_no_reset,
        **pooled,
    )


async def _no_reset(_: Connection) -> None:
    """Nothing: we keep no session state (no LISTEN, SET, session locks, temporary tables), and a reset is a round trip.

    asyncpg rolls an open transaction back by itself.
    """


async def prepare_schema(pool: Pool, *, demo_in: ZoneInfo | None) -> None:
    """Apply schema.sql, repeating until PostgreSQL answers.

    Args:
        pool: PostgreSQL.
        demo_in: the time zone of an invented catalogue that fills an empty one; None: no such catalogue.

    Raises:
        SettingError: DATABASE_URL, or a PG… variable beside it, can't be used; repeating would not help.
    """
    folder = Path(__file__).parent
    statements = (folder / "schema.sql").read_text("utf-8")
    if demo_in:
        statements += (folder / "demo.sql").read_text("utf-8")
    with suppress_instrumentation():
        while True:
            try:
                async with pool.acquire(timeout=ACQUIRE_SECONDS) as connection, connection.transaction():
                    await connection.execute(f"select pg_advisory_xact_lock({_SCHEMA_LOCK})")
                    await connection.execute(statements)
                    if demo_in:
                        await _add_demo_slots(connection, demo_in)
            except asyncpg.exceptions.ClientConfigurationError as error:
                raise SettingError(f"DATABASE_URL or a PG… variable can't be used: {error}") from error
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("PostgreSQL is not ready (%s), trying again", reason(error))
                await asyncio.sleep(1)
            else:
                return


async def _add_demo_slots(connection: Connection, zone: ZoneInfo) -> None:
    today = datetime.now(zone).date()
    slots = [datetime.combine(today + timedelta(day), time(hour), zone) for day in _DEMO_DAYS for hour in _DEMO_HOURS]
    await connection.execute(
        "insert into slots (starts_at) select unnest($1::timestamptz[]) on conflict do nothing", slots
    )
