"""Patients' data, planted wherever OTLP has room for them, each with a mark that tells where it was."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tools.base.otlp import attributes, value

# Ruled attributes, whose wrong values must become `other`, and such as libraries put on spans unasked.
RULED = ("lane", "component", "error.type", "status", "result", "message_id", "http.route", "db.system.name")
UNTYPED = ("endpoint", "operation", "cache_type", "query_type", "http.request.method", "http.response.status_code")
UNTYPED = ("endpoint", "operation", "cache_type", "query_type", "http.request.method", "http.response.status_code")
FOREIGN = ("db.query.text", "url.query", "exception.message", "user.full_name")
IDENTITY = ("service.instance.id", "service.version")
EVENT = ("exception.type", "exception.message", "exception.stacktrace")

Wrap = Callable[[str], Any]


@dataclass
class Canaries:
    """The marks planted so far, by place."""

    planted: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    """Each mark as it is written in the bytes of an output."""

    def plant(self, place: str) -> str:
        """A text as a patient's data could be, to be put into this place."""
        [mark] = self.planted.setdefault(place, (f"canary{len(self.planted):03d}".encode(),))
        return f"{mark.decode()} Maria +55 11 91234-5678"

    def number(self, place: str) -> int:
        """A number as a phone's could be, for a place that takes numbers only."""
        number = 1_133_334_000 + len(self.planted)
        varint, fixed = Span(dropped_links_count=number), Span(flags=number)
        self.planted.setdefault(place, (varint.SerializeToString()[1:], fixed.SerializeToString()[2:]))
        return number

    def found(self, output: bytes) -> set[str]:
        """The places whose mark is in some output."""
        return {place for place, marks in self.planted.items() if any(mark in output for mark in marks)}


def plant_texts(canaries: Canaries, resource_spans: Any) -> None:
    """A canary in every text that one resource with one scope and one span can hold."""
    resource_spans.schema_url = canaries.plant("the resource's schema URL")
    _set(canaries, resource_spans.resource.attributes, "resource attribute", [*IDENTITY, "host.name", "lane"])
    [scope_spans] = resource_spans.scope_spans
    scope_spans.schema_url = canaries.plant("the scope's schema URL")
    scope_spans.scope.version = canaries.plant("the scope's version")
    _set(canaries, scope_spans.scope.attributes, "scope attribute", ["patient"])
    [span] = scope_spans.spans
    _set(canaries, span.attributes, "span attribute", [*RULED, *FOREIGN])
    span.trace_state = f"vendor={canaries.plant('the trace state')}"
    span.status.CopyFrom(Status(message=canaries.plant("the status message"), code=Status.STATUS_CODE_ERROR))
    linked = attributes({"lane": canaries.plant("link attribute lane")})
    state = canaries.plant("a link's trace state")
    span.links.add(trace_id=b"l" * 16, span_id=b"l" * 8, trace_state=state, attributes=linked)
    _set(canaries, span.events.add(name=canaries.plant("an event's name")).attributes, "event attribute", EVENT)


def plant_types(canaries: Canaries, resource_spans: Any, kind: str, wrap: Wrap) -> None:
    """A canary inside of a value that is no text, under every key that may leave."""
    [span] = resource_spans.scope_spans[0].spans
    span.status.code = 3
    _set(canaries, resource_spans.resource.attributes, f"{kind} in resource attribute", IDENTITY, wrap)
    _set(canaries, span.attributes, f"{kind} in span attribute", [*RULED, *UNTYPED], wrap)
    _set(canaries, span.events.add(name="exception").attributes, f"{kind} in event attribute", EVENT, wrap)


def plant_twice(canaries: Canaries, resource_spans: Any) -> None:
    """A canary as the second value of a key whose first value is right."""
    [span] = resource_spans.scope_spans[0].spans
    for known in ("ValueError", "asyncpg.exceptions.UniqueViolationError", "E" * 100, "E" * 101, "Error2"):
        span.events.add(name="exception", attributes=attributes({"exception.type": known}))
    for kind, target in (
        ("resource attribute", resource_spans.resource.attributes),
        ("span attribute", span.attributes),
        ("event attribute", span.events[0].attributes),
    ):
        for key in [item.key for item in target]:
            target.add(key=key, value=value(canaries.plant(f"a second {kind} {key}")))


def plant_numbers(canaries: Canaries, resource_spans: Any) -> None:
    """A canary in every number that a sender may choose."""
    [scope_spans] = resource_spans.scope_spans
    [span] = scope_spans.spans
    event = span.events.add(name="exception")
    parts = {"resource": resource_spans.resource, "scope": scope_spans.scope, "span": span, "event": event}
    for name, part in parts.items():
        part.dropped_attributes_count = canaries.number(f"the {name}'s number of dropped attributes")
    span.dropped_events_count = canaries.number("the number of dropped events")
    span.dropped_links_count = canaries.number("the number of dropped links")
    span.flags = canaries.number("the span's flags")
    span.kind = canaries.number("the span's kind")
    span.status.code = canaries.number("the span's status code")
    span.attributes.add(key="http.response.status_code", value=value(canaries.number("the HTTP status code")))


def _set(canaries: Canaries, target: Any, kind: str, keys: Iterable[str], wrap: Wrap = str) -> None:
    for present in [item for item in target if item.key in keys]:
        target.remove(present)
    for key in keys:
        target.add(key=key, value=value(wrap(canaries.plant(f"{kind} {key}"))))
