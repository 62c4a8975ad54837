"""The worker process: drains the outbox. Run as many as wanted: `python -m app.outbox.worker`.

Each attempt is a span in the trace of the webhook that made the job: `reply.send`, `mem0.write`.
"""

import asyncio
import contextlib
import gc
import logging
import signal
from typing import Protocol

from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import SpanKind

from app.observability.instrumentation import instrument_database
from app.observability.logs import configure_logs, starting
from app.observability.telemetry import init_tracing
from app.observability.tracing import mark_error, trace_span
from app.outbox.memory_job import MemoryJob
from app.outbox.queue import Job, fail, finish, next_job
from app.outbox.reply_job import ReplyJob, ReplyRefusedError, client
from app.settings import Settings
from app.storage.database import Connection, Pool, open_pool, prepare_schema

log = logging.getLogger("app.outbox.worker")  # run as a module, __name__ is __main__

_IDLE_SECONDS = 0.5
_SIDE_BY_SIDE = {"reply": 4, "memory": 2}  # jobs of a kind at once


class JobKind(Protocol):
    """What the worker must know of a kind of job: the value of jobs.kind, its span, its component in errors_total."""

    kind: str
    span_name: str
    component: str
    refusals: int
    """So many refusals are the end of a job."""

    async def run(self, job: Job) -> None:
        """Do the job, or raise."""


class Worker:
    """Does due jobs until told to stop."""

    def __init__(self, pool: Pool, settings: Settings) -> None:
        self._pool = pool
        self._settings = settings
        self._stop = asyncio.Event()
        # A job in work holds a connection, and a memory needs one more. A pooler's are few, and the web's as well.
        self._at_once = asyncio.Semaphore(max(1, _connections(settings) // 2))

    def stop(self) -> None:
        """Finish the jobs in work, take no new ones."""
        self._stop.set()

    async def drain(self, kind: JobKind) -> None:
        """Do jobs of one kind, one after the other."""
        while not self._stop.is_set():
            try:
                with suppress_instrumentation():  # the queue's own SQL is nobody's query and would be traces of its own
                    async with self._at_once, next_job(kind.kind, self._pool) as taken:
                        if taken is not None:
                            await self._attempt(kind, *taken)
                self._tell_alive()
                idle = taken is None
            except Exception as error:  # whatever it is: a traceback would hold a job's content
                log.warning("the outbox can't be worked on (%s), trying again", type(error).__name__)
                idle = True
            if idle:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), _IDLE_SECONDS)

    def _tell_alive(self) -> None:
        if file := self._settings.heartbeat_file:
            with contextlib.suppress(OSError):  # whoever asks for its age sees that
                file.touch()

    async def _attempt(self, kind: JobKind, job: Job, connection: Connection) -> None:
        span_kind = SpanKind.CLIENT if kind.kind == "reply" else SpanKind.INTERNAL
        with trace_span(kind.span_name, {"status": "error"}, kind=span_kind, context=job.context) as span:
            try:
                await kind.run(job)
            except Exception as error:
                refused = _is_refusal(error)
                dead = (
                    job.attempts + 1 >= self._settings.job_attempts
                    or (refused and job.refusals + 1 >= kind.refusals)
                    or getattr(error, "final", False)
                )
                span.set_attribute("status", "dead" if dead else "error")
                mark_error(span, kind.component, error)
                why = f"{type(error).__name__} {_status(error) or ''}".strip()
                log.warning("a %s job failed (%s)%s", kind.kind, why, ", given up" if dead else "")
                backoff = self._settings.job_backoff_seconds
                await fail(job, connection, dead=dead, refused=refused, backoff_seconds=backoff)
            else:
                span.set_attribute("status", "success")
                await finish(job, connection)


def _is_refusal(error: Exception) -> bool:
    """Whether the other side will not take this job as it is; not 401 and 403, since a key can be mended meanwhile."""
    return isinstance(error, ReplyRefusedError) or _status(error) in (400, 404, 410, 413, 422)


def _status(error: Exception) -> int | None:
    """The HTTP status that the other side answered, if it did."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _connections(settings: Settings) -> int:
    most = 2 * sum(_SIDE_BY_SIDE.values())
    return min(most, max(2, settings.database_pool_size)) if settings.database_pooler else most


async def run() -> None:
    """Drain the outbox until SIGTERM or SIGINT; then finish the jobs in work and flush telemetry."""
    with starting():
        settings = Settings()
        configure_logs(settings.log_level)
        telemetry = init_tracing()
        instrument_database()
        pool = await open_pool(settings, _connections(settings))
    worker = Worker(pool, settings)
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, worker.stop)
    try:
        async with client(settings) as sender:
            with starting():
                await prepare_schema(pool, demo_in=settings.clinic_time_zone if settings.demo_catalog else None)
                memory = MemoryJob(settings, pool)
            kinds: list[JobKind] = [ReplyJob(settings, sender), memory]
            gc.collect()
            gc.freeze()  # mem0's imports would be walked at each full collection
            log.info("the worker is ready")
            await asyncio.gather(*(worker.drain(kind) for kind in kinds for _ in range(_SIDE_BY_SIDE[kind.kind])))
            memory.close()
    finally:
        await pool.close()
        await asyncio.to_thread(telemetry.shutdown)


if __name__ == "__main__":
    asyncio.run(run())
