"""Was this message handled before? Redis answers fast, PostgreSQL knows.

Redis holds a mark only for messages whose transaction is committed. Without the mark, or without Redis, the claim
decides: a row inserted in the message's own transaction. A concurrent delivery waits at the unique key; it is a
duplicate when the first commits, and does the work when the first fails. A crash leaves nothing behind.
"""

from contextlib import AsyncExitStack

from app.conversation.message import Message
from app.observability.tracing import trace_span
from app.storage.cache import Cache
from app.storage.database import ACQUIRE_SECONDS, Connection, Pool

_MARK_SECONDS = 24 * 3600  # Evolution repeats for some 20 minutes
_COMPONENT = "idempotency"


async def claim(message: Message, cache: Cache, pool: Pool, stack: AsyncExitStack) -> Connection | None:
    """The connection whose open transaction holds the message's row, or None for a duplicate.

    The transaction ends with `stack`: leaving it normally commits, leaving it by an exception takes the claim back.
    """
    with trace_span("idempotency.check", {"result": "new"}) as span:
        if await cache.command(span, _COMPONENT, "GET", _key(message)) is not None:
            span.set_attribute("result", "duplicate")
            return None
        with trace_span("db.acquire"):  # a saturated pool has no span of asyncpg's
            connection = await stack.enter_async_context(pool.acquire(timeout=ACQUIRE_SECONDS))
        await stack.enter_async_context(connection.transaction())
        claimed = await connection.fetchval(
            "insert into messages (instance, message_id, patient, text) values ($1, $2, $3, $4)"
            " on conflict do nothing returning true",
            message.instance,
            message.message_id,
            message.patient,
            message.text,
        )
        if not claimed:
            span.set_attribute("result", "duplicate")
            return None
        return connection


async def mark_done(message: Message, cache: Cache) -> None:
    """Let the next delivery be recognised by Redis alone. Only after the commit."""
    with trace_span("idempotency.mark") as span:
        await cache.command(span, _COMPONENT, "SET", _key(message), "done", "EX", _MARK_SECONDS)


def _key(message: Message) -> str:
    return f"done:{message.key}"
