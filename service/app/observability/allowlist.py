"""What is left of a span before it leaves the process: the contract's attributes and names, nothing else.

Instrumentations put SQL text, exception messages with row contents, query strings and peers' addresses on their spans
and have no switch for it. Building a new span from the allowed parts costs less than encoding the rest would.
"""

from functools import lru_cache

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status
from opentelemetry.util.types import Attributes

from app.observability.contract import AttributeValue, Rule, contract


def clean(span: ReadableSpan, resource: Resource | None = None) -> ReadableSpan:
    """A copy of the span with ids, times, kind, status code and what the contract allows, of this resource if given."""
    rules = contract()
    return ReadableSpan(
        name=_name(span.name),
        context=_context(span.get_span_context()),
        parent=_context(span.parent),
        resource=resource or span.resource,
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


def _kept(attributes: Attributes, rules: dict[str, Rule]) -> dict[str, AttributeValue]:
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
