"""The outbox: jobs in PostgreSQL, written in the message's transaction, done by the worker, at least once.

A job stays locked while it is worked on, so that a worker that dies gives it back by dying.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.conversation.message import Message
from app.storage.database import ACQUIRE_SECONDS, Connection, Pool

_TRACE_CONTEXT = TraceContextTextMapPropagator()  # explicitly: the global one takes no context from anybody
_MAX_WAIT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Job:
    """A job in work.

    Attributes:
        attempts: failed ones so far.
        refusals: those of them that the other side refused.
    """

    id: int
    kind: str
    instance: str
    patient: str
    payload: dict[str, Any]
    traceparent: str
    attempts: int
    refusals: int

    @property
    def context(self) -> Context:
        """The webhook's trace, in which the job's span is a child."""
        return _TRACE_CONTEXT.extract({"traceparent": self.traceparent})


async def enqueue(message: Message, jobs: Mapping[str, Mapping[str, str]], connection: Connection) -> None:
    """Add jobs, payload by kind (`reply`, `memory`), in the transaction of the connection."""
    carrier: dict[str, str] = {}
    _TRACE_CONTEXT.inject(carrier)
    await connection.execute(
        "insert into jobs (kind, payload, instance, message_id, patient, traceparent)"
        " select kind, payload::jsonb, $3, $4, $5, $6 from unnest($1::text[], $2::text[]) as new (kind, payload)",
        list(jobs),
        [json.dumps(payload) for payload in jobs.values()],
        message.instance,
        message.message_id,
        message.patient,
        carrier.get("traceparent", ""),
    )


async def replies_in_last_minute(patient: str, connection: Connection) -> int:
    """Replies enqueued for a patient in the last 60 s."""
    count: int = await connection.fetchval(
        "select count(*) from jobs where patient = $1 and kind = 'reply' and created_at > now() - interval '1 minute'",
        patient,
    )
    return count


async def queue_size(kind: str, pool: Pool) -> int:
    """Jobs of a kind that wait or are in work."""
    size: int = await pool.fetchval("select count(*) from jobs where kind = $1 and state = 'waiting'", kind)
    return size


async def dead_jobs(pool: Pool) -> dict[str, int]:
    """Given-up jobs by kind."""
    rows = await pool.fetch("select kind, count(*) as jobs from jobs where state = 'dead' group by kind order by kind")
    return {row["kind"]: row["jobs"] for row in rows}


async def replay_dead(pool: Pool) -> int:
    """Let all given-up jobs run again now; how many there were."""
    rows = await pool.fetch(
        "update jobs set state = 'waiting', attempts = 0, refusals = 0, run_at = now()"
        " where state = 'dead' returning id"
    )
    return len(rows)


@asynccontextmanager
async def next_job(kind: str, pool: Pool) -> AsyncIterator[tuple[Job, Connection] | None]:
    """The next due job, locked until the block ends; None when there is none.

    Within the block, settle it with `finish` or `fail`: both take effect when the block ends.
    """
    async with pool.acquire(timeout=ACQUIRE_SECONDS) as connection, connection.transaction():
        row = await connection.fetchrow(
            "select id, kind, instance, patient, payload, traceparent, attempts, refusals from jobs"
            " where kind = $1 and state = 'waiting' and run_at <= now() order by run_at, id limit 1"
            " for update skip locked",
            kind,
        )
        yield None if row is None else (Job(**{**row, "payload": json.loads(row["payload"])}), connection)


async def finish(job: Job, connection: Connection) -> None:
    """The job is done; its content goes."""
    await connection.execute("update jobs set state = 'done', payload = '{}' where id = $1", job.id)


async def fail(job: Job, connection: Connection, *, dead: bool, refused: bool, backoff_seconds: float) -> None:
    """The job failed once more: given up, or to be tried again after a wait that doubles each time."""
    wait = min(backoff_seconds * 2**job.attempts, _MAX_WAIT_SECONDS)
    await connection.execute(
        "update jobs set attempts = attempts + 1, refusals = refusals + $4,"
        " state = case when $2 then 'dead' else state end,"
        " run_at = now() + make_interval(secs => $3 * (0.8 + 0.4 * random())) where id = $1",
        job.id,
        dead,
        wait,
        int(refused),
    )
