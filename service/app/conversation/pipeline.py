"""What happens to one message, in order. Nothing leaves before the commit.

    claim (duplicate? stop) → identify → hydrate → classify → compose → outbox: reply, memory → commit → mark as done

All of it is one transaction: a crash before the commit leaves nothing behind, after it everything is durable.
"""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

import asyncpg

from app.conversation.hydration import Context, free_slots, hydrate
from app.conversation.idempotency import claim, mark_done
from app.conversation.identity import identify
from app.conversation.lanes import Lane, classify
from app.conversation.message import Message
from app.conversation.replies import compose
from app.observability.tracing import add_span_event, mark_error, trace_span
from app.outbox.queue import enqueue, replies_in_last_minute
from app.settings import Settings
from app.storage.cache import Cache
from app.storage.database import Connection, Pool

_DATABASE_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)  # TimeoutError is an OSError


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message: the labels `status` and `lane` of its request."""

    status: str
    lane: str


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Handles messages.

    Args:
        pool: PostgreSQL.
        cache: Redis.
        replies_per_minute: to one sender; beyond it a message is stored but not answered.
        answer_within: an older message is stored and remembered, but not answered: after a reconnect WhatsApp delivers
            what came in the meantime, as if it were new.
    """

    pool: Pool
    cache: Cache
    replies_per_minute: int
    answer_within: timedelta

    @classmethod
    def of(cls, settings: Settings, pool: Pool, cache: Cache) -> Self:
        """As the settings say."""
        return cls(pool, cache, settings.replies_per_sender_per_minute, settings.answer_within)

    async def handle(self, message: Message) -> Outcome:
        """Store and answer a message, or recognise it.

        Raises:
            Exception: whatever went wrong, counted in `errors_total`; nothing was stored then, and Evolution asks
            again.
        """
        with trace_span("message.process", {"message_id": message.message_id}) as span:
            try:
                outcome = await self._handle(message)
                await mark_done(message, self.cache)
            except Exception as error:
                mark_error(span, "database" if isinstance(error, _DATABASE_ERRORS) else "pipeline", error)
                raise
            return outcome

    async def _handle(self, message: Message) -> Outcome:
        async with AsyncExitStack() as stack:
            connection = await claim(message, self.cache, self.pool, stack)
            if connection is None:
                return Outcome("duplicate", "none")
            message = await identify(message, self.cache, connection)
            add_span_event("hydration_started")
            context = await hydrate(message, self.cache, connection)
            add_span_event("classification_started")
            lane = classify(message.text)
            add_span_event("response_generation")
            await self._answer(message, lane, context, connection)
        return Outcome("success", lane.name)

    async def _answer(self, message: Message, lane: Lane, context: Context, connection: Connection) -> None:
        slots = await free_slots(connection) if lane.name == "scheduling" else []
        jobs = {"memory": {"text": message.text}} if message.text else {}
        if await self._is_to_be_answered(message, connection):
            jobs["reply"] = {"text": compose(lane, context, slots)}
            if lane.name == "complex" and message.text:
                jobs["reply"]["question"] = message.text  # for the model, if one is configured
        await enqueue(message, jobs, connection)

    async def _is_to_be_answered(self, message: Message, connection: Connection) -> bool:
        if message.is_older_than(self.answer_within):
            return False
        return await replies_in_last_minute(message.patient, connection) < self.replies_per_minute
