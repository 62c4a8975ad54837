"""Spans: opening them, marking what went wrong on them.

Usage:
    init_tracing(service_name="healthcare-backend")        # once, before the app is built

    with trace_span("process_message", {"message_id": id}):
        add_span_event("hydration_started")
"""

import numbers
import time
from collections.abc import Mapping
from types import TracebackType

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from app.observability.spans import CURRENT

SCOPE = "app.observability"
_YEAR_SECONDS = 365 * 24 * 3600

tracer = trace.get_tracer(SCOPE)  # a proxy until init_tracing() ran, so importing costs nothing and orders nothing


def bind() -> None:
    """Spare each span the way through the proxy, once there is a provider."""
    global tracer
    tracer = trace.get_tracer(SCOPE)


class trace_span:  # noqa: N801 - used like a function, and documented so
    """A span around a block, in sync and async code (`with` and `async with` do the same).

    A block that is left by an exception, cancellation included, gives the span the status ERROR and an event with the
    exception's type; never its message, which could hold a patient's data.

    Args:
        name: a constant in lower case, dotted, for instance `lane.classify`; other shapes are shown as `other`.
        attributes: those of the contract's allow-list leave the process, others are dropped.
        kind: CLIENT for a call to another system.
        context: the parent, where it is not the current span.

    Raises:
        RuntimeError: on entering, when the same object is open; one after the other it may be used again.
    """

    __slots__ = ("_attributes", "_context", "_kind", "_name", "_open", "_span", "_token")

    def __init__(
        self,
        name: str,
        attributes: Mapping[str, AttributeValue] | None = None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        context: Context | None = None,
    ) -> None:
        self._name = name
        self._attributes = attributes
        self._kind = kind
        self._context = context
        self._open = False

    def __enter__(self) -> Span:
        if self._open:
            raise RuntimeError("this trace_span is open: nested and concurrent blocks need one each")
        self._open = True  # no call between the check and this: no other thread can come between them
        try:
            self._span = span = tracer.start_span(self._name, self._context, self._kind, self._attributes)
            self._token = attach(Context({**get_current(), CURRENT: span}))
        except BaseException:
            self._open = False
            raise
        return span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._open:
            raise RuntimeError("this trace_span is not open")
        if error is not None:
            self._span.set_status(Status(StatusCode.ERROR))
            self._span.add_event("exception", {"exception.type": type(error).__qualname__})
        try:
            detach(self._token)
        finally:
            self._span.end()
            self._open = False

    async def __aenter__(self) -> Span:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


def add_span_event(name: str) -> None:
    """Add an event to the current span, for instance `hydration_started`; a name of the same shape as a span's."""
    trace.get_current_span().add_event(name)


def span_of(
    name: str, attributes: Mapping[str, AttributeValue], duration_seconds: float, *, failed: bool = False
) -> None:
    """A span for something that already happened: it ends now and began `duration_seconds` ago.

    Raises:
        ValueError: the duration is negative, not finite, above a year (nanoseconds by mistake?) or no real number:
            Python's and NumPy's are, Decimal, bool and text are not.
    """
    given: object = duration_seconds
    if isinstance(given, bool) or not isinstance(given, numbers.Real):
        raise ValueError("duration_seconds must be a number of seconds")
    if not 0 <= duration_seconds <= _YEAR_SECONDS:
        raise ValueError("duration_seconds must be from 0 to a year, in seconds")
    end = time.time_ns()
    span = tracer.start_span(name, attributes=attributes, start_time=end - round(float(duration_seconds) * 1e9))
    if failed:
        span.set_status(Status(StatusCode.ERROR))
    span.end(end)


_ERROR_TYPES = {  # class names along the exception's ancestry, so that no client library is imported for it
    "TimeoutError": "timeout",
    "TimeoutException": "timeout",  # httpx
    "APITimeoutError": "timeout",  # openai, in mem0
    "QueryCanceledError": "timeout",  # asyncpg, on a server-side time-out
    "ConnectionError": "connection",  # Python's, redis's
    "APIConnectionError": "connection",
    "PostgresConnectionError": "connection",
    "CannotConnectNowError": "connection",
    "OperatorInterventionError": "connection",  # the server is shutting down
    "InterfaceError": "connection",  # asyncpg: the connection is closed
    "OperationalError": "connection",  # psycopg
    "InsufficientResourcesError": "unavailable",  # asyncpg: too many connections
    "TransportError": "connection",  # httpx
    "OSError": "connection",
    "IntegrityConstraintViolationError": "constraint",
    "IntegrityError": "constraint",
    "DataError": "invalid",
    "ValueError": "invalid",
}


def error_type(error: BaseException) -> str:
    """The value of the label `error_type` for an exception: one of the contract's closed set."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return "unavailable" if status >= 500 or status in (408, 429) else "refused"
    names = (cls.__name__ for cls in type(error).__mro__)
    return next((_ERROR_TYPES[name] for name in names if name in _ERROR_TYPES), "internal")


def mark_error(span: Span, component: str, error: BaseException) -> None:
    """Count a handled error once, on the span where it is handled: feeds `errors_total` {error_type, component}."""
    span.set_status(Status(StatusCode.ERROR))
    span.set_attributes({"component": component, "error.type": error_type(error)})
