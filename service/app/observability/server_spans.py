"""FastAPI, instrumented by its OpenTelemetry package, without what never leaves the process.

Apart from instrumentation.py: the worker has no FastAPI to wait for.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI
from opentelemetry.context import Context
from opentelemetry.instrumentation import fastapi as upstream
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.util.http import sanitize_method

NOT_TRACED = frozenset({"/health", "/metrics", "/metrics/summary"})

_Message = MutableMapping[str, Any]


def instrument_app(app: FastAPI) -> None:
    """A SERVER span for each request.

    Call it before the app serves: later it is silently ignored.
    """
    upstream.OpenTelemetryMiddleware = ServerSpans  # type: ignore[attr-defined]
    upstream.FastAPIInstrumentor.instrument_app(
        app,
        exclude_spans=["receive", "send"],
        meter_provider=NoOpMeterProvider(),  # durations come from the spans
    )


class ServerSpans(OpenTelemetryMiddleware):
    """Upstream's for HTTP, with the four attributes that the contract lets out instead of some twenty, and no metrics.

    A request is always the root of its trace: strangers don't choose our trace ids.
    tests/unit/test_server_spans.py holds it against upstream's.
    """

    async def __call__(
        self,
        scope: _Message,
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        """Serve, in a span that ends with the last part of the answer."""
        if scope["type"] != "http" or scope["path"] in NOT_TRACED or not is_http_instrumentation_enabled():
            await self.app(scope, receive, send)
            return
        name, attributes = self.default_span_details(scope)  # type: ignore[arg-type]
        attributes["http.request.method"] = sanitize_method(scope["method"].strip())
        with self.tracer.start_as_current_span(
            name, context=Context(), kind=SpanKind.SERVER, attributes=attributes, end_on_exit=False
        ) as span:

            async def told(message: _Message) -> None:
                kind = message["type"]
                if kind == "http.response.start":
                    code = message["status"]
                    span.set_attribute("http.response.status_code", code)
                    if code >= 500:
                        span.set_attribute("error.type", str(code))
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)
                if kind == "http.response.body" and not message.get("more_body", False):
                    span.end()

            try:
                await self.app(scope, receive, told)
            finally:
                if span.is_recording():
                    span.end()
