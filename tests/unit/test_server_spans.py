"""SERVER spans are upstream's, whatever is asked and answered: the same name, kind, attributes, status and events."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from fastapi.responses import JSONResponse, StreamingResponse
from opentelemetry import trace
from opentelemetry.instrumentation import fastapi as upstream
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.utils import suppress_http_instrumentation, suppress_instrumentation
from opentelemetry.metrics import NoOpMeterProvider

from app.observability.server_spans import ServerSpans, instrument_app
from tests.support.reference import Clock, Outcome, of_ours

REQUESTS = [
    ("POST", "/webhooks/evolution?code=200"),
    ("POST", "/webhooks/evolution?code=302"),
    ("POST", "/webhooks/evolution?code=422"),
    ("POST", "/webhooks/evolution?code=500"),
    ("POST", "/webhooks/evolution?code=503"),
    ("POST", "/webhooks/evolution/messages-upsert"),  # raises
    ("POST", "/webhooks/evolution/refused"),
    ("POST", "/webhooks/elsewhere/5511999990000"),  # in parts
    ("GET", "/webhooks/evolution"),
    ("HEAD", "/health"),
    ("GET", "/health"),
    ("GET", "/metrics"),
    ("GET", "/metrics/summary"),
    ("GET", "/health/"),
    ("GET", "/webhooks/evolution/health"),
    ("GET", "/wp-admin.php"),
    ("get", "/wp-admin.php"),
    ("PROPFIND", "/webhooks/evolution?code=200"),
    ("OPTIONS", "/"),
]


def application() -> FastAPI:
    app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False}, openapi_url=None)

    @app.api_route("/webhooks/evolution", methods=["POST"])
    async def webhook(code: int) -> JSONResponse:
        trace.get_current_span().set_attributes({"endpoint": "/webhooks/evolution", "lane": "faq", "status": "success"})
        return JSONResponse({}, code)

    @app.post("/webhooks/evolution/{event}")
    async def event(event: str) -> None:
        if event == "refused":
            raise HTTPException(403, "no")
        raise RuntimeError("maria")

    @app.post("/webhooks/{path:path}")
    async def parts() -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            yield b"some"
            yield b"more"

        return StreamingResponse(body())

    async def figures() -> dict[str, int]:
        return {}

    for path in ("/health", "/metrics", "/metrics/summary"):
        app.add_api_route(path, figures, methods=["GET", "HEAD"])
    return app


def of(middleware: type[OpenTelemetryMiddleware], monkeypatch: pytest.MonkeyPatch, **excluded: Any) -> Outcome:
    """What leaves, and what callers are answered."""

    async def ask(app: FastAPI) -> list[tuple[int, bytes]]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://backend:8000") as client:
            answers = [await client.request(*request, content=b"body") for request in REQUESTS]
            with suppress_instrumentation(), suppress_http_instrumentation():
                answers.append(await client.request(*REQUESTS[0]))
        return [(answer.status_code, answer.content) for answer in answers]

    def program(tracer: Any, _: Clock) -> list[tuple[int, bytes]]:
        monkeypatch.setattr(upstream, "OpenTelemetryMiddleware", middleware)
        app = application()
        upstream.FastAPIInstrumentor.instrument_app(
            app,
            exclude_spans=["receive", "send"],
            meter_provider=NoOpMeterProvider(),
            tracer_provider=SimpleNamespace(get_tracer=lambda *_, **__: tracer),  # type: ignore[arg-type]
            **excluded,
        )
        return asyncio.run(ask(app))

    return of_ours(program)


def test_what_leaves_of_a_request_is_what_upstream_would_send(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = of(ServerSpans, monkeypatch)
    theirs = of(OpenTelemetryMiddleware, monkeypatch, excluded_urls=r"^https?://[^/]+/(health|metrics(/summary)?)$")
    assert ours.saw == theirs.saw
    assert ours.sent == theirs.sent
    assert len(ours.sent) == len(REQUESTS) - 4  # those that are not traced


def test_the_service_is_instrumented_by_it() -> None:
    app = application()
    instrument_app(app)
    try:
        assert type(app.build_middleware_stack().app) is ServerSpans  # type: ignore[attr-defined]
    finally:
        upstream.FastAPIInstrumentor.uninstrument_app(app)
