"""Patients' data, planted wherever OTLP has room for them, each with a mark that tells where it was."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tools.otlp import attributes, value

# Ruled attributes, whose wrong values must become `other`, and such as libraries put on spans unasked.
RULED = ("lane", "component", "error.type", "status", "result", "message_id", "http.route", "db.system.name")
FOREIGN = ("db.query.text", "url.query", "exception.message", "user.full_name")


@dataclass
class Canaries:
    """The marks planted so far, by place."""

    planted: dict[str, bytes] = field(default_factory=dict)

    def plant(self, place: str) -> str:
        """A text as a patient's data could be, to be put into this place."""
        self.planted.setdefault(place, f"canary{len(self.planted):03d}".encode())
        return f"{self.planted[place].decode()} Maria +55 11 91234-5678"

    def found(self, output: bytes) -> set[str]:
        """The places whose mark is in some output."""
        return {place for place, mark in self.planted.items() if mark in output}


def plant(canaries: Canaries, resource_spans: Any) -> None:
    """Put a canary into every field of one resource with one scope and one span; its own data stay."""
    resource_spans.schema_url = canaries.plant("the resource's schema URL")
    _add(
        canaries, resource_spans.resource.attributes, "resource attribute", ["host.name", "lane", "service.instance.id"]
    )
    [scope_spans] = resource_spans.scope_spans
    scope_spans.schema_url = canaries.plant("the scope's schema URL")
    scope_spans.scope.version = canaries.plant("the scope's version")
    _add(canaries, scope_spans.scope.attributes, "scope attribute", ["patient"])
    [span] = scope_spans.spans
    _add(canaries, span.attributes, "span attribute", [*RULED, *FOREIGN])
    span.attributes.add(key="cache_type", value=value({"bundle": canaries.plant("a map in an attribute")}))
    span.trace_state = f"vendor={canaries.plant('the trace state')}"
    span.status.CopyFrom(Status(message=canaries.plant("the status message"), code=Status.STATUS_CODE_ERROR))
    linked = attributes({"lane": canaries.plant("link attribute lane")})
    span.links.add(
        trace_id=b"l" * 16, span_id=b"l" * 8, trace_state=canaries.plant("a link's trace state"), attributes=linked
    )
    event = span.events.add(name=canaries.plant("an event's name"))
    _add(canaries, event.attributes, "event attribute", ["exception.type", "exception.message", "exception.stacktrace"])


def _add(canaries: Canaries, target: Any, kind: str, keys: Iterable[str]) -> None:
    for present in [item for item in target if item.key in keys]:
        target.remove(present)
    for key in keys:
        target.add(key=key, value=value(canaries.plant(f"{kind} {key}")))
