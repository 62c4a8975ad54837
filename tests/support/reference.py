"""The reference of the product's spans: the SDK's tracer, a copy of what the contract allows, the official encoder."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from unittest import mock

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status
from opentelemetry.util.types import Attributes

from app.observability import spans, wire
from app.observability.contract import Rule, Value, contract
from app.observability.lost_spans import LostSpans
from app.observability.tracer import Provider

SCOPE = "app.observability"
START = 1_700_000_000_000_000_000
_LIMITS = SpanLimits(max_events=128)


def clean(span: ReadableSpan) -> ReadableSpan:
    """A copy of the span with ids, times, kind, status code and what the contract allows."""
    rules = contract()
    return ReadableSpan(
        name=_name(span.name),
        context=_context(span.get_span_context()),
        parent=_context(span.parent),
        resource=span.resource,
        attributes=_kept(span.attributes, rules.span),
        events=[
            Event(_name(event.name), _kept(event.attributes, rules.event), event.timestamp) for event in span.events
        ],
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=_scope(span.instrumentation_scope.name if span.instrumentation_scope else ""),
    )


def _kept(attributes: Attributes, rules: dict[str, Rule]) -> dict[str, Value]:
    return {key: rules[key](value) for key, value in (attributes or {}).items() if key in rules}


def _context(context: SpanContext | None) -> SpanContext | None:
    """The same ids without the trace state, which is free text."""
    if context is None or not context.trace_state:
        return context
    return SpanContext(context.trace_id, context.span_id, context.is_remote, context.trace_flags)


@lru_cache(maxsize=1024)
def _name(name: str) -> str:
    # asyncpg's name of a cursor's span holds a space, which no shape allows; the Collector knows the word.
    return "cursor" if name.startswith("CURSOR: ") else contract().name(name)


@lru_cache(maxsize=64)
def _scope(name: str) -> InstrumentationScope:
    return InstrumentationScope(contract().name(name))


class Ids(IdGenerator):
    """Ids in their order, so that two runs of a program have the same."""

    def __init__(self) -> None:
        self._next = itertools.count(1)

    def generate_span_id(self) -> int:
        """The next."""
        return next(self._next) << 40 | 7

    def generate_trace_id(self) -> int:
        """The next."""
        return next(self._next) << 100 | 9

    def is_trace_id_random(self) -> bool:
        """As those of the SDK's own generator."""
        return True


class Clock:
    """A clock that a program moves, because the two read it differently often."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


@dataclass(frozen=True)
class Outcome:
    """What a program sent, in the order of the ends, what it saw, and how many of its spans were refused."""

    sent: list[tuple[str, Span]]
    saw: Any
    refused: int


Program = Callable[[Any, Clock], Any]


def of_the_sdk(program: Program) -> Outcome:
    """A program's outcome with the SDK's tracer, what is allowed copied, and the official encoder."""
    clock, ended = Clock(), _Ended()
    provider = TracerProvider(
        sampler=ALWAYS_ON,
        resource=Resource.get_empty(),
        id_generator=Ids(),
        span_limits=_LIMITS,
        shutdown_on_exit=False,
        meter_provider=NoOpMeterProvider(),
    )
    provider.add_span_processor(ended)
    with mock.patch.object(sdk, "time_ns", clock):
        saw = program(provider.get_tracer(SCOPE), clock)
    bodies = [body for span in ended.spans if (body := _encoded(span)) is not None]
    return Outcome(_spans(bodies), saw, len(ended.spans) - len(bodies))


def of_ours(program: Program) -> Outcome:
    """A program's outcome with the product's tracer."""
    clock, lost, provider = Clock(), LostSpans(), Provider()
    provider.start(lost)
    with mock.patch.object(spans, "time_ns", clock), mock.patch.object(spans, "_ids", Ids()):
        saw = program(provider.get_tracer(SCOPE), clock)
    bodies = []
    while taken := provider.take():
        bodies.append(wire.request(b"", taken))
    return Outcome(_spans(bodies), saw, lost.by_reason()["refused"])


class _Ended(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def _encoded(span: ReadableSpan) -> bytes | None:
    """None for one that can't be told as OTLP does."""
    try:
        if abs(span.end_time - span.start_time) > 366 * 24 * 3600 * 10**9:  # type: ignore[operator]
            return None
        body: bytes = encode_spans([clean(span)]).SerializeToString()
    except Exception:
        return None
    return body


def _spans(bodies: list[bytes]) -> list[tuple[str, Span]]:
    """Each span with its scope; attributes in their keys' order, and a status that says nothing left out."""
    found = []
    for body in bodies:
        for part in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in part.scope_spans:
                for span in scope.spans:
                    span.attributes.sort(key=lambda item: item.key)
                    for event in span.events:
                        event.attributes.sort(key=lambda item: item.key)
                    if not span.status.ByteSize():
                        span.ClearField("status")
                    found.append((scope.scope.name, span))
    return found
