"""OpenTelemetry's tracer for this service, behind OpenTelemetry's API, in place of the SDK's.

The SDK's spans hold everything until they are cleaned and encoded, which costs some 40 µs each. What this one leaves
out never left: links, a status' description, trace state; nor are there samplers, limits and processors of spans.
"""

import copy
import functools
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import SpanKind

from app.observability import wire
from app.observability.contract import contract
from app.observability.lost_spans import LostSpans
from app.observability.spans import CURRENT, Queue, Span

QUEUE_SPANS = 16_384  # of one scope, ended and not yet taken by the sender: a burst of 1000 requests
BATCH_SPANS = 2048
_BATCH_BYTES = 1024 * 1024  # the Collector takes 4 MiB


class _Current:
    """start_as_current_span(): a context manager, and a decorator of functions and coroutines."""

    __slots__ = ("_arguments", "_end_on_exit", "_span", "_tells", "_token", "_tracer")

    def __init__(self, tracer: "Tracer", arguments: tuple[Any, ...], tells: tuple[bool, bool], end: bool) -> None:
        self._tracer = tracer
        self._arguments = arguments
        self._tells = tells
        self._end_on_exit = end

    def __enter__(self) -> Span:
        self._span = span = Span(self._tracer.queue, *self._arguments)
        self._token = attach(Context({**get_current(), CURRENT: span}))
        return span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        detach(self._token)
        if isinstance(error, Exception):
            self._span.fail(error, *self._tells)
        if self._end_on_exit:
            self._span.end()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*arguments: Any, **named: Any) -> Any:
                with copy.copy(self):
                    return await function(*arguments, **named)

            return awaited

        @functools.wraps(function)
        def called(*arguments: Any, **named: Any) -> Any:
            with copy.copy(self):
                return function(*arguments, **named)

        return called


class Tracer(trace.Tracer):
    """Makes the spans of one scope."""

    def __init__(self, scope: str) -> None:
        self.scope = scope
        self.queue = Queue()

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[trace.Link] | None = None,  # noqa: ARG002 - links never leave
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Span:
        """A span that began now, or at `start_time` (nanoseconds since 1970)."""
        span = Span(self.queue, name, context, kind, attributes, start_time)
        if not (record_exception and set_status_on_exception):
            span.tells = (record_exception, set_status_on_exception)
        return span

    def start_as_current_span(  # type: ignore[override]
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[trace.Link] | None = None,  # noqa: ARG002 - links never leave
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> _Current:
        """A span around a block or a function."""
        arguments = (name, context, kind, attributes, start_time)
        return _Current(self, arguments, (record_exception, set_status_on_exception), end_on_exit)


class Provider(trace.TracerProvider):
    """Makes tracers, and holds what their spans became. Thread-safe; before start() spans are dropped, uncounted."""

    def __init__(self) -> None:
        wire.learn(contract())
        self._lock = threading.RLock()  # a signal's handler may come while this thread is in here
        self._tracers: dict[str, Tracer] = {}
        self._state: tuple[LostSpans, str, int] | None = None

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,  # noqa: ARG002 - versions and what follows never leave
        schema_url: str | None = None,  # noqa: ARG002
        attributes: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> Tracer:
        """The tracer of a scope; always the same."""
        with self._lock:
            tracer = self._tracers.get(instrumenting_module_name)
            if tracer is None:
                tracer = self._tracers[instrumenting_module_name] = Tracer(instrumenting_module_name)
                if self._state:
                    tracer.queue.admit(*self._state)
            return tracer

    def start(self, lost: LostSpans) -> None:
        """Take spans from now on."""
        self._set(lost, "queue_full", QUEUE_SPANS)

    def close(self, lost: LostSpans, reason: str = "shutdown") -> None:
        """Take none from now on, but count them."""
        self._set(lost, reason, 0)

    def _set(self, lost: LostSpans, reason: str, room: int) -> None:
        with self._lock:
            self._state = (lost, reason, room)
            for tracer in self._tracers.values():
                tracer.queue.admit(lost, reason, room)

    def forked(self) -> None:
        """In the child: what is open or ended now is the parent's."""
        self._lock = threading.RLock()
        for tracer in self._tracers.values():
            tracer.queue.forget()
            tracer.queue = Queue()

    @property
    def waiting(self) -> int:
        """Spans that ended and were not taken yet."""
        return sum(len(tracer.queue.spans) for tracer in list(self._tracers.values()))

    def take(self) -> list[tuple[bytes, list[bytes]]]:
        """Spans that ended, by scope, at most a batch; empty when there are none."""
        taken, count, size = [], 0, 0
        for scope, tracer in list(self._tracers.items()):
            spans: list[bytes] = []
            queue = tracer.queue.spans
            while queue and count < BATCH_SPANS and size < _BATCH_BYTES:
                try:
                    span = queue.popleft()
                except IndexError:  # somebody else takes as well
                    break
                spans.append(span)
                count += 1
                size += len(span)
            if spans:
                taken.append((wire.SCOPES[scope], spans))
        return taken
