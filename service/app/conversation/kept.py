"""Deliveries that were not understood, as they came: bounded in number, size and age, to be run again after a mend.

They hold patients' data, so they are in PostgreSQL only.
"""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self

from app.conversation.message import NotUnderstoodError, parse
from app.conversation.pipeline import Pipeline
from app.observability.tracing import mark_error, trace_span
from app.settings import Settings
from app.storage.database import Pool

_KEEP = "insert into kept (digest, reason, body) values ($1, $2, $3) on conflict (digest) do nothing"
_NEXT = "select id, kept_at, body from kept where id > $1 order by id limit 1"
_PRUNE = """
    delete from kept where kept_at < now() - $1::interval or id in (
        select id from (
            select id, row_number() over newest as deliveries, sum(octet_length(body)) over newest as bytes
            from kept window newest as (order by id desc)
        ) as counted where deliveries > $2 or bytes > $3
    )
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """What was kept, and how much of it may be; the oldest go first.

    Args:
        pool: PostgreSQL.
        deliveries: at most so many.
        size: of all bodies together, in bytes.
        age: for so long.
    """

    pool: Pool
    deliveries: int
    size: int
    age: timedelta

    @classmethod
    def of(cls, settings: Settings, pool: Pool) -> Self:
        """As the settings say."""
        return cls(pool, settings.kept_deliveries, settings.kept_bytes, timedelta(days=settings.kept_days))

    async def keep(self, body: bytes, reason: str, *, status: str) -> None:
        """Keep a delivery, the same bytes once. Counted: `deliveries_kept_total` {status}.

        Args:
            body: as it came.
            reason: of NotUnderstoodError.REASONS.
            status: how it is answered, `ignored` or `rejected`.

        Raises:
            Exception: whatever PostgreSQL raises; the sender is to ask again then.
        """
        with trace_span("delivery.keep", {"status": status}) as span:
            try:
                await self.pool.execute(_KEEP, hashlib.sha256(body).digest(), reason, body)
                await self.prune()
            except Exception as error:
                mark_error(span, "database", error)
                raise

    async def prune(self) -> None:
        """Forget what is too old or too much."""
        await self.pool.execute(_PRUNE, self.age, self.deliveries, self.size)

    async def counts(self) -> tuple[dict[str, int], datetime | None]:
        """How many there are by reason, and since when the oldest is kept."""
        rows = await self.pool.fetch(
            "select reason, count(*) as deliveries, min(kept_at) as oldest from kept group by reason order by reason"
        )
        return {row["reason"]: row["deliveries"] for row in rows}, min((row["oldest"] for row in rows), default=None)

    async def replay(self, pipeline: Pipeline) -> dict[str, int]:
        """Read all of them again, oldest first; how many are `handled`, `nothing for us`, `not understood`.

        What is understood now goes through the pipeline with the age that it has, and is no longer kept.

        Raises:
            Exception: whatever the pipeline raises; the rest is still kept then.
        """
        outcomes = dict.fromkeys(("handled", "nothing for us", "not understood"), 0)
        async for number, kept_at, body in self._all():
            try:
                message = parse(body)
            except NotUnderstoodError:
                outcomes["not understood"] += 1
                continue
            if message is not None:
                await pipeline.handle(replace(message, sent_at=message.sent_at or kept_at))
            outcomes["nothing for us" if message is None else "handled"] += 1
            await self.pool.execute("delete from kept where id = $1", number)
        return outcomes

    async def _all(self) -> AsyncIterator[tuple[int, datetime, bytes]]:
        """One at a time: together they may be larger than memory."""
        number = 0
        while row := await self.pool.fetchrow(_NEXT, number):
            number = row["id"]
            yield number, row["kept_at"], row["body"]
