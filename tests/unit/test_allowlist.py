"""What is left of a span before it leaves the process, part by part."""

from typing import Any

import pytest
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from app.observability.allowlist import clean
from app.observability.contract import contract

CANARY = "Maria Silva"
STATE = TraceState([("vendor", "maria")])
CONTEXT, PARENT = (
    SpanContext(number, number, is_remote=True, trace_flags=TraceFlags(1), trace_state=STATE) for number in (7, 8)
)


def test_of_a_span_its_skeleton_is_left() -> None:
    given = ReadableSpan(
        CANARY,
        CONTEXT,
        PARENT,
        attributes={"lane": "faq", "status": CANARY, CANARY: CANARY},
        events=[Event(CANARY, {"exception.type": "ValueError", "exception.message": CANARY}, 5)],
        kind=SpanKind.CLIENT,
        status=Status(StatusCode.ERROR, CANARY),
        start_time=1,
        end_time=2,
        instrumentation_scope=InstrumentationScope(CANARY, "1", CANARY, {"patient": CANARY}),
    )
    left = clean(given)
    assert (left.name, left.kind, left.start_time, left.end_time) == ("other", SpanKind.CLIENT, 1, 2)
    assert dict(left.attributes or {}) == {"lane": "faq", "status": "other"}
    assert [(event.name, dict(event.attributes or {}), event.timestamp) for event in left.events] == [
        ("other", {"exception.type": "ValueError"}, 5)
    ]
    assert (left.status.status_code, left.status.description) == (StatusCode.ERROR, None)
    assert left.instrumentation_scope == InstrumentationScope("other")
    for context, number in ((left.context, 7), (left.parent, 8)):
        assert context == SpanContext(number, number, is_remote=True, trace_flags=TraceFlags(1))
        assert context is not None
        assert len(context.trace_state) == 0


def test_a_span_of_our_own_keeps_its_scope_and_needs_nothing_else() -> None:
    left = clean(ReadableSpan("mem0.write", instrumentation_scope=InstrumentationScope("app.observability")))
    assert left.instrumentation_scope == InstrumentationScope("app.observability")
    assert (left.name, dict(left.attributes or {}), left.context, left.parent) == ("mem0.write", {}, None, None)
    assert clean(ReadableSpan("mem0.write")).instrumentation_scope == InstrumentationScope("other")


@pytest.mark.parametrize(
    ("key", "given", "left"),
    [
        ("http.response.status_code", 200, 200),
        ("http.response.status_code", True, 0),
        ("http.response.status_code", "200", 0),
        ("http.response.status_code", 2.5, 0),
        ("message_id", 5511, "other"),
        ("message_id", b"3EB0C767", "other"),
        ("lane", ["faq"], "other"),
        ("lane", True, "other"),
    ],
)
def test_a_value_of_another_type_does_not_leave(key: str, given: Any, left: object) -> None:
    kept = contract().span[key](given)
    assert (kept, type(kept)) == (left, type(left))


@pytest.mark.parametrize("name", [None, 5, ["mem0.write"], b"mem0.write"])
def test_a_name_that_is_no_text_does_not_leave(name: object) -> None:
    assert contract().name(name) == "other"
