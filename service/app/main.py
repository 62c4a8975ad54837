"""The web process: `uvicorn app.main:create_app --factory`. Wiring only."""

import asyncio
import contextlib
import gc
import logging
import re
import time
from collections.abc import AsyncIterator

import asyncpg
import httpx
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from opentelemetry.instrumentation.utils import suppress_instrumentation
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import Receive, Scope, Send

from app.api import health, metrics_endpoint, webhook
from app.conversation.kept import Kept
from app.conversation.pipeline import Pipeline
from app.observability import init_tracing, observe_mem0_queue_size
from app.observability.instrumentation import instrument_database
from app.observability.logs import configure_logs, starting
from app.observability.server_spans import instrument_app
from app.outbox.queue import queue_size
from app.settings import Settings
from app.storage.cache import Cache
from app.storage.database import Pool, open_pool, prepare_schema

log = logging.getLogger(__name__)

_QUEUE_POLL_SECONDS = 5.0
_PRUNE_SECONDS = 3600.0


class Application(FastAPI):
    """FastAPI that takes slashes too many: `http://host:8000//webhooks/evolution/` would be a 404, never repeated."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, before any middleware has looked at the path."""
        if scope["type"] == "http":
            path = re.sub("/{2,}", "/", scope["path"])
            scope["path"] = path.rstrip("/") if path.startswith(webhook.ENDPOINT) else path
        await super().__call__(scope, receive, send)


def create_app() -> FastAPI:
    """The application, settings from the environment; telemetry starts before it is built.

    Raises:
        SystemExit: the start failed, and the log says why.
    """
    with starting():
        settings = Settings()
        configure_logs(settings.log_level)
        telemetry = init_tracing()
    instrument_database()
    app = Application(
        title="Healthcare backend",
        lifespan=_lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # contrib's instead
    )
    app.state.phase = "starting"
    app.state.settings = settings
    app.state.telemetry = telemetry
    for module in (webhook, health, metrics_endpoint):
        app.include_router(module.router)
    app.add_exception_handler(StarletteHTTPException, _http_error)
    instrument_app(app)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Opens everything, serves, closes everything; telemetry last, so that it tells of the rest."""
    settings: Settings = app.state.settings
    with starting():
        app.state.pool = await open_pool(settings, settings.database_pool_size)
        app.state.cache = Cache(settings.redis_url.get_secret_value())
        app.state.http = httpx.AsyncClient(trust_env=False)
        app.state.pipeline = Pipeline.of(settings, app.state.pool, app.state.cache)
        app.state.kept = Kept.of(settings, app.state.pool)
    background = asyncio.create_task(_prepare_and_watch(app.state.pool, app.state.kept, settings))
    gc.collect()
    gc.freeze()  # what was imported stays: walking it at each full collection is most of the latency's tail
    gc.set_threshold(10_000, 50, 50)
    app.state.phase = "serving"
    log.info("the service is ready")
    try:
        yield
    finally:
        app.state.phase = "stopping"
        background.cancel()
        await asyncio.gather(background, return_exceptions=True)
        await app.state.http.aclose()
        await app.state.cache.close()
        await app.state.pool.close()
        await asyncio.to_thread(app.state.telemetry.shutdown)


async def _prepare_and_watch(pool: Pool, kept: Kept, settings: Settings) -> None:
    """Apply the schema as soon as PostgreSQL answers, then measure the mem0 queue for ever, and forget what is too old.

    Not in the worker: the one that may die must not be the one that reports.
    """
    with starting():
        await prepare_schema(pool, demo_in=settings.clinic_time_zone if settings.demo_catalog else None)
    pruned_at = -_PRUNE_SECONDS
    while True:
        try:
            with suppress_instrumentation():
                if time.monotonic() - pruned_at >= _PRUNE_SECONDS:
                    await kept.prune()
                    pruned_at = time.monotonic()
                observe_mem0_queue_size(size=await queue_size("memory", pool))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            log.warning("the mem0 queue can't be measured (%s)", type(error).__name__)
        await asyncio.sleep(_QUEUE_POLL_SECONDS)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    """Every refusal as `{"error": …}`; of a delivery in the log, too."""
    assert isinstance(error, StarletteHTTPException | HTTPException)  # noqa: S101 - what it is registered for
    if request.method == "POST" and request.url.path.startswith(webhook.BELOW):
        webhook.refusals.add(error.detail)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)
