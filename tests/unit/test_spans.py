"""Our spans are those of OpenTelemetry's API: whatever a program does, what is sent and seen is what the SDK would do.

The reference: the SDK's tracer, a copy of what the contract allows, the official encoder (tests/support/reference.py).
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from app.observability.contract import contract
from tests.support.programs_of_spans import ERRORS, NAMES, REMOTE, VALUES, OddError, RandomProgram, parent, same
from tests.support.reference import START, Clock, of_ours, of_the_sdk

SECOND = 10**9


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Both warn of nonsense, thousands of times."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Rows:
    """What the API promises, a function each: what it does with a tracer, and returns of what it saw."""

    def __init__(self) -> None:
        self.programs: dict[str, Callable[[Any, Clock], Any]] = {}

    def __call__(self, program: Callable[[Any, Clock], Any]) -> Callable[[Any, Clock], Any]:
        self.programs[program.__name__] = program
        return program


row = Rows()


@row
def a_root_has_a_trace_of_its_own(tracer: Any, _: Clock) -> Any:
    span = tracer.start_span("a.step")
    span.end()
    return span.get_span_context(), span.get_span_context().trace_flags


@row
def a_child_has_its_parents_trace(tracer: Any, _: Clock) -> Any:
    with tracer.start_as_current_span("outer") as outer, tracer.start_as_current_span("inner") as inner:
        return outer.get_span_context(), inner.get_span_context(), trace.get_current_span() is inner


@row
def an_explicit_context_is_the_parent(tracer: Any, _: Clock) -> None:
    outer = tracer.start_span("outer")
    with tracer.start_as_current_span("current"):
        tracer.start_span("inner", context=trace.set_span_in_context(outer)).end()
        tracer.start_span("root", context=Context()).end()
    outer.end()


@row
def a_remote_parent_is_told_as_remote_and_its_trace_state_is_kept_inside(tracer: Any, _: Clock) -> Any:
    span = tracer.start_span("a.step", parent(REMOTE))
    child = tracer.start_span("a.step", trace.set_span_in_context(span))
    child.end()
    span.end()
    return [(one.get_span_context(), one.get_span_context().trace_state) for one in (span, child)]


@row
def random_bits_come_from_the_parent(tracer: Any, _: Clock) -> Any:
    flags = []
    for bits in (0, 1, 2, 3):
        span = tracer.start_span("a.step", parent(SpanContext(11, 12, False, TraceFlags(bits))))
        span.end()
        flags.append(span.get_span_context().trace_flags)
    return flags


@row
def an_invalid_parent_is_none(tracer: Any, _: Clock) -> None:
    tracer.start_span("a.step", trace.set_span_in_context(INVALID_SPAN)).end()
    for ids in ((0, 5), (5, 0), (2**128, 5), (5, 2**64)):
        tracer.start_span("a.step", parent(SpanContext(*ids, is_remote=True))).end()


@row
def each_kind_is_told(tracer: Any, _: Clock) -> Any:
    spans = [tracer.start_span("a.step", kind=kind) for kind in SpanKind]
    for span in spans:
        span.end()
    return [span.kind for span in spans]


@row
def times_may_be_given(tracer: Any, clock: Clock) -> None:
    tracer.start_span("a.step", start_time=START - SECOND).end(START + SECOND)
    span = tracer.start_span("a.step")
    clock.now += 5
    span.end()


@row
def an_end_before_the_start_is_told_as_it_is(tracer: Any, _: Clock) -> None:
    tracer.start_span("a.step").end(START - SECOND)


@row
def times_that_are_none_cost_their_span(tracer: Any, _: Clock) -> None:
    for start, end in ((-1, None), (2**64, None), (1.5, None), (0, None), (None, -1), (None, 2**64), (None, "now")):
        tracer.start_span("a.step", start_time=start).end(end)
    tracer.start_span("a.step").add_event("step", timestamp=-1)
    span = tracer.start_span("a.step")
    span.add_event("step", timestamp=-1)
    span.end()


@row
def the_first_end_counts(tracer: Any, _: Clock) -> None:
    span = tracer.start_span("a.step")
    span.end(START + 1)
    span.end(START + 2)


@row
def after_the_end_nothing_changes(tracer: Any, _: Clock) -> Any:
    span = tracer.start_span("a.step")
    before = span.is_recording()
    span.end()
    span.set_attribute("lane", "faq")
    span.set_attributes({"lane": "faq"})
    span.add_event("step")
    span.record_exception(ValueError())
    span.set_status(StatusCode.ERROR)
    span.update_name("another")
    return before, span.is_recording(), span.name


@row
def the_last_value_of_an_attribute_counts(tracer: Any, _: Clock) -> None:
    span = tracer.start_span("a.step", attributes={"lane": "faq", "status": "success"})
    span.set_attribute("lane", "price")
    span.set_attributes({"status": "error", "result": "hit"})
    span.end()


@row
def attributes_that_are_none_are_none(tracer: Any, _: Clock) -> None:
    tracer.start_span("a.step", attributes=None).end()
    span = tracer.start_span("a.step", attributes={})
    span.set_attributes({})
    span.set_attribute("", "faq")
    span.set_attribute(None, "faq")
    span.set_attribute(5, "faq")
    span.end()


@row
def events_have_times_and_attributes(tracer: Any, _: Clock) -> None:
    span = tracer.start_span("a.step")
    span.add_event("step")
    span.add_event("step", {"exception.type": "ValueError", "patient": "maria"}, START + 7)
    span.add_event("Maria", None, 0)
    span.add_event("step", {"exception.type": 5})
    span.end()


@row
def the_newest_128_events_are_kept(tracer: Any, _: Clock) -> None:
    span = tracer.start_span("a.step")
    for number in range(140):
        span.add_event("step", timestamp=START + number)
    span.end()


@row
def a_nonsense_event_that_newer_ones_push_out_costs_nothing(tracer: Any, _: Clock) -> None:
    span = tracer.start_span("a.step")
    for number in range(-1, 128):
        span.add_event("step", timestamp=number)
    span.end()


@row
def links_do_not_leave(tracer: Any, _: Clock) -> None:
    span = tracer.start_span("a.step", links=[Link(REMOTE, {"lane": "faq"})])
    span.add_link(REMOTE, {"lane": "faq"})
    span.end()


@row
def ok_stays_and_unset_changes_nothing(tracer: Any, _: Clock) -> None:
    codes = list(StatusCode)
    for first in (None, *codes):
        for second in codes:
            span = tracer.start_span("a.step")
            if first:
                span.set_status(first, "why" if first is StatusCode.ERROR else None)
            span.set_status(Status(second))
            span.end()


@row
def what_is_no_status_is_none(tracer: Any, _: Clock) -> None:
    span = tracer.start_span("a.step")
    span.set_status("ERROR")
    span.set_status(2)
    span.end()


@row
def a_name_may_change(tracer: Any, _: Clock) -> Any:
    span = tracer.start_span("a.step")
    span.update_name("another.step")
    span.end()
    return span.name


@row
def exceptions_are_told_by_their_type(tracer: Any, _: Clock) -> None:
    span = tracer.start_span("a.step")
    span.record_exception(ValueError("maria"))
    span.record_exception(asyncio.CancelledError(), {"exception.type": "other.Type", "x": "maria"}, START + 3, True)
    span.record_exception(OddError())
    span.end()


def leaves_by(error: Callable[[], BaseException], manager: Any) -> None:
    with contextlib.suppress(BaseException), manager:
        raise error()


@row
def a_block_left_by_an_exception_is_an_error(tracer: Any, _: Clock) -> None:
    for error in ERRORS:
        leaves_by(error, tracer.start_as_current_span("a.step"))
        leaves_by(error, tracer.start_as_current_span("a.step", record_exception=False))
        leaves_by(error, tracer.start_as_current_span("a.step", set_status_on_exception=False))
        leaves_by(error, tracer.start_span("a.step"))
        leaves_by(error, tracer.start_span("a.step", record_exception=False))
        leaves_by(error, tracer.start_span("a.step", set_status_on_exception=False))
        leaves_by(error, trace.use_span(tracer.start_span("a.step"), end_on_exit=True))


@row
def a_block_that_ended_its_span_tells_no_more(tracer: Any, _: Clock) -> None:
    with contextlib.suppress(ValueError), tracer.start_as_current_span("a.step") as span:
        span.end()
        raise ValueError


@row
def end_on_exit_may_be_off(tracer: Any, _: Clock) -> Any:
    with tracer.start_as_current_span("a.step", end_on_exit=False) as span:
        pass
    left = span.is_recording()
    span.end()
    return left


@row
def the_context_is_as_before_after_a_block(tracer: Any, _: Clock) -> Any:
    before = get_current()
    leaves_by(KeyError, tracer.start_as_current_span("a.step"))
    return get_current() == before


@row
def functions_and_coroutines_may_be_decorated(tracer: Any, clock: Clock) -> Any:
    @tracer.start_as_current_span("a.function")  # type: ignore[untyped-decorator]
    def double(number: int) -> Any:
        """Doc."""
        clock.now += 1
        return number * 2

    @tracer.start_as_current_span("a.coroutine")  # type: ignore[untyped-decorator]
    async def nested(number: int) -> Any:
        await asyncio.sleep(0)
        clock.now += 1
        return double(number) + double(number)

    loop = asyncio.new_event_loop()
    try:
        result = [double(2), double(3), loop.run_until_complete(nested(4))]
    finally:
        loop.close()
    return result, double.__name__, double.__doc__, asyncio.iscoroutinefunction(nested)


@row
def each_value_of_each_attribute(tracer: Any, _: Clock) -> None:
    for key in (*contract().span, "db.query.text", "patient"):
        for value in VALUES:
            span = tracer.start_span("a.step", attributes={key: value})
            span.add_event("step", {key: value, "exception.type": value})
            span.end()


@row
def each_name_of_spans_and_events(tracer: Any, _: Clock) -> None:
    for name in NAMES * 2:
        span = tracer.start_span(name)
        span.add_event(name)
        span.end()


@pytest.mark.parametrize("program", row.programs.values(), ids=row.programs)
def test_of_openTelemetrys_api(program: Callable[[Any, Clock], Any]) -> None:  # noqa: N802 - as it is spelt
    same(program)


class NotText:
    """The SDK would make a text of it, here one of the closed set."""

    def __str__(self) -> str:
        return "faq"


def test_an_object_is_not_made_a_text_which_the_sdk_does() -> None:
    def program(tracer: Any, _: Clock) -> None:
        tracer.start_span("a.step", attributes={"lane": NotText()}).end()

    values = [of(program).sent[0][1].attributes[0].value.string_value for of in (of_ours, of_the_sdk)]
    assert values == ["other", "faq"]


class Hostile(str):
    """Fails whatever is asked of it."""

    __slots__ = ()

    def __hash__(self) -> int:
        raise ZeroDivisionError

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError


def test_nothing_raises_whatever_it_is_given() -> None:
    def program(tracer: Any, _: Clock) -> None:
        for nonsense in (Hostile("faq"), [], {}, object(), None, 5, b"x", "\ud800"):
            span = tracer.start_span("a.step", attributes=nonsense, links=nonsense)
            span.set_attribute(nonsense, "faq")
            span.set_attribute("lane", nonsense)
            span.set_attribute("message_id", nonsense)
            span.set_attributes(nonsense)
            span.set_attributes({"lane": nonsense})
            span.add_link(nonsense)
            span.set_status(nonsense, nonsense)
            span.end()
            span = tracer.start_span("a.step")
            span.record_exception(ValueError(), nonsense)
            span.add_event("step", nonsense)
            span.end()
            span = tracer.start_span(nonsense, kind=nonsense, start_time=nonsense)
            span.update_name(nonsense)
            span.end(nonsense)

    outcome = of_ours(program)
    assert len(outcome.sent) + outcome.refused == 3 * 8
    assert {item.value.string_value for _, span in outcome.sent for item in span.attributes} == {"other"}


SPANS = 10_000


def test_ten_thousand_spans_of_random_programs_are_those_of_the_sdk() -> None:
    sent, refused, seed = 0, 0, 0
    while sent < SPANS:
        outcome = same(RandomProgram(seed))
        sent += len(outcome.sent)
        refused += outcome.refused
        seed += 1
    assert refused > 50
