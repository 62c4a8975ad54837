"""Spans that keep only what may leave, and are bytes as soon as they end."""

import logging
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from time import time_ns
from types import TracebackType
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from app.observability import wire
from app.observability.lost_spans import LostSpans
from app.observability.wire import END, KINDS, PARENT_ID, SPAN, SPAN_ID, SPAN_NAMES, START, STATUS, TRACE_ID

log = logging.getLogger(__name__)

_MAX_EVENTS = 128  # of a span, the newest
_YEAR_NANOSECONDS = 366 * 24 * 3600 * 10**9
_OK = StatusCode.OK.value
_EXCEPTION: dict[str, Callable[[BaseException], str]] = {  # told as far as the contract lists them
    "exception.type": lambda error: _full_name(type(error)),
    "exception.message": str,
    "exception.stacktrace": lambda error: "".join(traceback.format_exception(error)),
}

_ids = RandomIdGenerator()
(CURRENT,) = trace.set_span_in_context(trace.INVALID_SPAN, Context())  # of the current span in a context


def _full_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ in ("builtins", "", None) else f"{kind.__module__}.{kind.__qualname__}"


class Queue:
    """Spans of one scope that ended, as bytes, until the sender takes them. What has no room is counted as lost."""

    __slots__ = ("_lost", "reason", "room", "spans")

    def __init__(self) -> None:
        self.spans: deque[bytes] = deque()
        self.forget()

    def admit(self, lost: LostSpans, reason: str, room: int) -> None:
        """Take so many spans from now on, and count the others in `lost`."""
        self._lost: LostSpans | None = lost
        self.reason = reason
        self.room = room

    def forget(self) -> None:
        """Take none and count none: those of another process, which tells of them itself."""
        self._lost = None
        self.reason = ""
        self.room = 0

    def lose(self, reason: str) -> None:
        """Count a span that will not be sent."""
        if self._lost:
            self._lost.add(reason, 1)


class Span(trace.Span):
    """A span, as OpenTelemetry's API describes it. Nothing in it raises, whatever it is given."""

    _end: int | None = None
    _status: int = 0
    _events: "deque[bytes | None] | tuple[()]" = ()
    _context: SpanContext | None = None
    _state: TraceState | None = None
    _parent: bytes = b""
    _remote: bool = False
    _random: bool = True
    _trace: bytes
    _id: bytes
    tells: tuple[bool, bool] = (True, True)
    """Of an exception that leaves its block: whether as an event, and as the status."""

    def __init__(
        self,
        queue: Queue,
        name: str,
        context: Context | None,
        kind: SpanKind,
        attributes: Mapping[str, Any] | None,
        start_time: int | None,
    ) -> None:
        self.name = name
        self.kind = kind
        self._queue = queue
        parent = (get_current() if context is None else context).get(CURRENT)
        if type(parent) is Span:  # isinstance() of an abstract class costs as much as all the rest here
            self._trace = parent._trace
            self._parent = PARENT_ID + parent._id
            self._random = parent._random
            self._state = parent._state
        else:
            self._descend(parent)
        self._id = _ids.generate_span_id().to_bytes(8, "big")
        self._attributes: dict[str, bytes] = {}
        if attributes:
            self.set_attributes(attributes)
        self._start = time_ns() if start_time is None else start_time

    def _descend(self, parent: object) -> None:
        """Have the parent that somebody else made, or none."""
        given = parent.get_span_context() if isinstance(parent, trace.Span) else None
        if isinstance(given, SpanContext) and given.is_valid:
            self._trace = given.trace_id.to_bytes(16, "big")
            self._parent = PARENT_ID + given.span_id.to_bytes(8, "big")
            self._remote = given.is_remote
            self._random = given.trace_flags.random_trace_id
            self._state = given.trace_state
        else:
            self._trace = _ids.generate_trace_id().to_bytes(16, "big")

    def get_span_context(self) -> SpanContext:
        """The ids, made when somebody asks for them."""
        if self._context is None:
            self._context = SpanContext(
                int.from_bytes(self._trace, "big"),
                int.from_bytes(self._id, "big"),
                is_remote=False,
                trace_flags=TraceFlags(TraceFlags.SAMPLED | (TraceFlags.RANDOM_TRACE_ID if self._random else 0)),
                trace_state=self._state,
            )
        return self._context

    def is_recording(self) -> bool:
        """Whether it has not ended."""
        return self._end is None

    def set_attribute(self, key: str, value: Any) -> None:
        """Keep what the contract lets out of it."""
        if self._end is not None:
            self._late()
            return
        try:
            table = SPAN.get(key)
            if table is not None:
                self._attributes[key] = wire.field(table, value)
        except Exception:  # the key is not hashable, or fails when it is
            log.warning("an attribute can't be read")

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Keep what the contract lets out of them."""
        if self._end is not None:
            self._late()
            return
        try:
            for key, value in attributes.items():
                table = SPAN.get(key)
                if table is not None:
                    try:
                        self._attributes[key] = table[value]
                    except Exception:  # see wire.field(), whose call is spared here
                        self._attributes[key] = table.other
        except Exception:  # no mapping, or one of its own kind
            log.warning("attributes can't be read")

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None) -> None:
        """Keep the event's name and time, and what the contract lets out of its attributes."""
        if self._end is not None:
            self._late()
            return
        try:
            event = wire.event(name, attributes or {}, time_ns() if timestamp is None else timestamp)
        except Exception:  # of the time or the name: the span is then refused when it ends
            event = None
        if not self._events:
            self._events = deque(maxlen=_MAX_EVENTS)
        self._events.append(event)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: ARG002 - of the API
    ) -> None:
        """An event with what the contract lets out of an exception: its type."""
        try:
            told = {key: tell(exception) for key, tell in _EXCEPTION.items() if key in wire.EVENT}
            told |= attributes or {}
        except Exception:
            told = {}
        self.add_event("exception", told, timestamp)

    def add_link(self, context: SpanContext, attributes: Mapping[str, Any] | None = None) -> None:
        """Nothing: links never leave."""

    def update_name(self, name: str) -> None:
        """Another name."""
        if self._end is None:
            self.name = name
        else:
            self._late()

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:  # noqa: ARG002
        """OK stays, UNSET changes nothing; the description is dropped."""
        code = status.status_code if isinstance(status, Status) else status
        if self._end is not None:
            self._late()
        elif isinstance(code, StatusCode) and code is not StatusCode.UNSET and self._status != _OK:
            self._status = code.value

    def end(self, end_time: int | None = None) -> None:
        """Become bytes, once; what can't be told as OTLP does is counted as refused."""
        end = time_ns() if end_time is None else end_time
        if self._end is not None:
            self._late()
            return
        self._end = end  # no call between the check and this: none of two threads can come between them
        queue = self._queue
        try:
            if not -_YEAR_NANOSECONDS <= end - self._start <= _YEAR_NANOSECONDS:
                raise ValueError("a span of more than a year would spoil its histogram's sum")
            span = wire.framed(
                b"".join(
                    (
                        TRACE_ID,
                        self._trace,
                        SPAN_ID,
                        self._id,
                        self._parent,
                        SPAN_NAMES[self.name],
                        KINDS[self._remote][self.kind._value_],
                        wire.times(START, self._start, END, end),
                        *self._attributes.values(),
                        *self._events,
                        STATUS[self._status],
                    )
                )
            )
        except Exception:  # whatever somebody's times or names raise
            queue.lose("refused")
            return
        if len(queue.spans) < queue.room:
            queue.spans.append(span)
        else:
            queue.lose(queue.reason)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End; an exception is told, cancellation included."""
        if error is not None:
            self.fail(error, *self.tells)
        self.end()

    def fail(self, error: BaseException, record: bool, status: bool) -> None:
        """Tell of an exception that leaves the span's block."""
        if self._end is None:
            if record:
                self.record_exception(error)
            if status:
                self.set_status(StatusCode.ERROR)

    def _late(self) -> None:
        log.warning("a span that ended was changed")
