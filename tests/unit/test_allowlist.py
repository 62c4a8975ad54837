"""What is left of a span before it leaves the process, part by part."""

from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span, Status
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState

from app.observability import wire
from app.observability.contract import contract
from tests.support.reference import START, of_ours

CANARY = "Maria Silva"
CONTEXT = SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState([("vendor", "maria")]))


def test_of_a_span_its_skeleton_is_left() -> None:
    def program(tracer: Any, clock: Any) -> None:
        span = tracer.start_span(
            CANARY,
            trace.set_span_in_context(NonRecordingSpan(CONTEXT)),
            SpanKind.CLIENT,
            {"lane": "faq", "status": CANARY, CANARY: CANARY},
            [Link(CONTEXT, {CANARY: CANARY})],
        )
        span.add_link(CONTEXT, {CANARY: CANARY})
        span.add_event(CANARY, {"exception.type": "ValueError", "exception.message": CANARY}, 5)
        span.record_exception(KeyError(CANARY), {CANARY: CANARY})
        span.set_status(StatusCode.ERROR, CANARY)
        span.end(clock.now + 1)
        assert CANARY not in str({key: value for key, value in vars(span).items() if key != "name"})

    ((_, span),) = of_ours(program).sent
    left = Span(
        trace_id=(7).to_bytes(16, "big"),
        span_id=span.span_id,
        parent_span_id=(8).to_bytes(8, "big"),
        name="other",
        kind=Span.SpanKind.SPAN_KIND_CLIENT,
        flags=0x300,  # the parent is remote
        start_time_unix_nano=START,
        end_time_unix_nano=START + 1,
        attributes=[wire._attribute("lane", "faq"), wire._attribute("status", "other")],
        events=[
            Span.Event(name=name, time_unix_nano=time, attributes=[wire._attribute("exception.type", kind)])
            for name, time, kind in (("other", 5, "ValueError"), ("exception", START, "KeyError"))
        ],
        status=Status(code=Status.STATUS_CODE_ERROR),
    )
    assert span == left


@pytest.mark.parametrize(
    ("scope", "left"),
    [
        ("app.observability", "app.observability"),
        ("opentelemetry.instrumentation.asyncpg", "opentelemetry.instrumentation.asyncpg"),
        (CANARY, "other"),
        ("", "other"),
    ],
)
def test_of_a_scope_its_name_is_left_if_its_shape_is_allowed(scope: str, left: str) -> None:
    assert ScopeSpans.FromString(wire.SCOPES[scope]).scope.name == left


@pytest.mark.parametrize(
    ("key", "given", "left"),
    [
        ("http.response.status_code", 200, 200),
        ("http.response.status_code", True, 0),
        ("http.response.status_code", "200", 0),
        ("http.response.status_code", 2.5, 0),
        ("http.response.status_code", 2**63 - 1, 2**63 - 1),
        ("http.response.status_code", 2**63, 0),
        ("http.response.status_code", -(2**63), 0),
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
    if not isinstance(name, list):
        assert Span.FromString(wire.SPAN_NAMES[name]).name == "other"


def test_what_is_remembered_of_names_is_bounded_and_none_of_them_is_a_patients() -> None:
    names = wire._Names(str.encode)
    for number in range(3000):
        assert names[f"a.step{number % 10}{'.' * (number // 10)}"[:70]]
        assert names[f"Maria {number}"] == b"other"
    assert 0 < len(names) <= wire._NAMES
    assert not [name for name in names if "Maria" in str(name)]
