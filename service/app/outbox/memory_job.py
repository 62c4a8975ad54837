"""Writing a memory to mem0, in the worker only: it takes seconds to import and long pauses to collect its garbage."""

import asyncio
import os
from pathlib import Path
from typing import Any

from app.environment import forget_proxies
from app.outbound import blocking_client
from app.outbox.queue import Job
from app.settings import Settings
from app.storage.database import Pool

_EMBED_SECONDS = 10.0
_CONNECTIONS = 5


class MemoryJob:
    """Does memory jobs: one job, one message, one memory, also when it is done twice.

    mem0 deduplicates nothing. The job's id goes into the memory's metadata, is looked for first, and is unique in the
    table.
    """

    kind = "memory"
    span_name = "mem0.write"
    component = "mem0"
    refusals = 1

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._pool = pool
        self._memory = _open_mem0(settings)

    async def run(self, job: Job) -> None:
        """Add the message to the patient's memories, unless an earlier attempt did.

        Raises:
            Exception: whatever mem0, its store or its embeddings raise.
        """
        if await self._pool.fetchval("select true from memories where payload->>'job_id' = $1", str(job.id)):
            return
        await asyncio.to_thread(
            self._memory.add,
            job.payload["text"],
            user_id=job.patient,
            metadata={"job_id": str(job.id)},
            infer=False,  # the message itself; no model is asked what to remember
        )

    def close(self) -> None:
        """Close mem0's own connections; else its threads are waited for at the process's end."""
        self._memory.vector_store.connection_pool.close()


def _open_mem0(settings: Settings) -> Any:
    """mem0 on our PostgreSQL, with a pool and a client of ours: its own ask the environment."""
    forget_proxies()  # it makes its own client first
    os.environ["MEM0_DIR"] = settings.mem0_dir  # read at the import
    Path(settings.mem0_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
    from mem0 import Memory
    from psycopg_pool import ConnectionPool

    pool = ConnectionPool(
        settings.database_url.get_secret_value(),
        kwargs={"prepare_threshold": None},  # nothing prepared that a pooler would give to another client
        min_size=1,
        max_size=_CONNECTIONS,
        open=False,
    )
    pool.open(wait=False)  # PostgreSQL may be away

    memory = Memory.from_config(
        {
            "vector_store": {
                "provider": "pgvector",
                "config": {
                    "connection_pool": pool,
                    "collection_name": "memories",
                    "embedding_model_dims": settings.embeddings_dimensions,
                    "hnsw": False,
                    "diskann": False,
                },
            },
            "embedder": {
                "provider": "openai",
                "config": {
                    "api_key": settings.embeddings_api_key.get_secret_value(),
                    "openai_base_url": settings.embeddings_url,
                    "model": settings.embeddings_model,
                    "embedding_dims": settings.embeddings_dimensions,
                },
            },
            # Constructed by mem0 in any case, never called with infer=False.
            "llm": {"provider": "openai", "config": {"api_key": "unused"}},
            "history_db_path": ":memory:",
        }
    )
    memory.db = _NoHistory()
    # The client's own defaults, 10 minutes and two retries, would hold a job and a thread for as long.
    memory.embedding_model.client = memory.embedding_model.client.with_options(
        timeout=_EMBED_SECONDS,
        max_retries=0,
        http_client=blocking_client(settings, settings.embeddings_url),
    )
    return memory


class _NoHistory:
    """mem0's history of changes would be a second copy of what patients wrote, which erasing a patient had to find."""

    def add_history(self, *_: object, **__: object) -> None:
        """Forget it."""

    def close(self) -> None:
        """Nothing is open."""
