"""Programs that use OpenTelemetry's API, at random and with what nobody expects; run by ours and by the SDK."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from app.observability.contract import contract
from tests.support.reference import START, Clock, Outcome, of_ours, of_the_sdk

REMOTE = SpanContext(11, 12, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState([("vendor", "x")]))
VALUES = [
    *("faq", "price", "success", "error", "hit", "get", "postgresql", "POST", "/health", "timeout", "cache"),
    *("", "maria", "FAQ", "faq\n", "ação", "3EB0C767D097B7C7C0A1", "5511999990000", "A" * 5000, "other"),
    *(200, 404, 0, -1, 2**63 - 1, 2**63, 2**70, -(2**63), True, False, 1.0, 200.0, float("nan"), float("inf")),
    *(None, b"faq", b"", [], ["faq"], ("faq",), [1, "x"], [["faq"]], {}, {"lane": "faq"}, {"faq"}, Decimal(200)),
    *(np.int64(200), np.str_("faq"), np.float64(2.5), np.array([1]), object()),
]
NAMES = [
    *("a.step", "lane.classify", "mem0.write", "POST /webhooks/evolution/{event}", "GET", "BEGIN;", "insert", "other"),
    *("CURSOR: select", "CURSOR: ", "select 'maria'", "Maria", "joão", "", "a" * 64, "a" * 65, "patient.5511", "a\n"),
]


class OddError(Exception):
    """Of a module of ours."""


ERRORS = (lambda: ValueError("maria"), asyncio.CancelledError, lambda: SystemExit(3), OddError)


def same(program: Callable[[Any, Clock], Any]) -> Outcome:
    """Run it by both: what is seen, sent and refused must be the same."""
    ours, theirs = of_ours(program), of_the_sdk(program)
    assert ours.saw == theirs.saw
    assert ours.sent == theirs.sent
    assert ours.refused == theirs.refused
    return ours


def parent(context: SpanContext) -> Context:
    """A context whose current span is a remote one."""
    return trace.set_span_in_context(NonRecordingSpan(context))


class RandomProgram:
    """Does with a tracer what comes to mind, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, tracer: Any, clock: Clock) -> Any:
        self.dice = random.Random(self.seed)
        self.tracer, self.clock = tracer, clock
        self.made: list[Any] = []
        for _ in range(self.dice.randint(1, 3)):
            self.block(0)
        for span in self.made:
            if self.dice.random() < 0.3:
                span.end()
        return [(span.get_span_context(), span.is_recording(), span.name, span.kind) for span in self.made]

    def chance(self, of: float) -> bool:
        return self.dice.random() < of

    def block(self, depth: int) -> None:
        """A span in one of the ways to make one, with things done to it and blocks in it."""
        self.clock.now += self.dice.randint(0, 10**6)
        how = self.dice.choice(("current", "current", "current", "used", "with", "plain"))
        options = self.options()
        tells = {"record_exception": self.chance(0.8), "set_status_on_exception": self.chance(0.8)}
        with contextlib.suppress(BaseException):
            if how == "current":
                with self.tracer.start_as_current_span(**options, **tells, end_on_exit=self.chance(0.9)) as span:
                    self.within(span, depth)
                return
            span = self.tracer.start_span(**options, **tells)
            if how == "used":
                with trace.use_span(span, end_on_exit=self.chance(0.8), **tells):
                    self.within(span, depth)
            elif how == "with":
                with span:
                    self.within(span, depth)
            else:
                self.within(span, depth)
                span.end(self.time())

    def options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"name": self.dice.choice(NAMES)}
        if self.chance(0.5):
            options["kind"] = self.dice.choice(list(SpanKind))
        if self.chance(0.5):
            options["attributes"] = self.attributes()
        if self.chance(0.2):
            options["start_time"] = self.time()
        if self.chance(0.1):
            options["links"] = [Link(REMOTE, self.attributes())]
        if self.chance(0.2):
            options["context"] = self.context()
        return options

    def context(self) -> Context:
        if self.made and self.chance(0.5):
            return trace.set_span_in_context(self.dice.choice(self.made))
        ids = [self.dice.choice((0, 5, 2**64 - 1, 2**64, 2**128 - 1, 2**128)) for _ in range(2)]
        flags = TraceFlags(self.dice.randint(0, 3))
        state = self.dice.choice((None, TraceState([("vendor", "x")])))
        return parent(SpanContext(ids[0], ids[1], self.chance(0.5), flags, state))

    def time(self) -> Any:
        if self.chance(0.02):
            return self.dice.choice((-1, 0, 2**62, 2**64, 1.5))
        return self.dice.choice((None, self.clock.now, START - self.dice.randint(0, 10**12)))

    def attributes(self) -> dict[str, Any]:
        keys = self.dice.choices((*contract().span, *contract().event, "db.query.text", "patient"), k=4)
        return {key: self.value(key) for key in keys}

    def value(self, key: str) -> Any:
        rule = contract().span.get(key)
        allowed = sorted(getattr(rule, "values", ()))
        return self.dice.choice(allowed) if allowed and self.chance(0.6) else self.dice.choice(VALUES)

    def within(self, span: Any, depth: int) -> None:
        self.made.append(span)
        for _ in range(self.dice.randint(0, 5)):
            self.clock.now += self.dice.randint(0, 1000)
            self.do(span)
        if depth < 4:
            for _ in range(self.dice.choice((0, 1, 1, 2, 2))):
                self.block(depth + 1)
        if self.chance(0.15):
            raise self.dice.choice(ERRORS)()

    def do(self, span: Any) -> None:
        event = (self.dice.choice(NAMES), self.attributes() if self.chance(0.5) else None, self.time())
        key = self.dice.choice((*contract().span, "patient", ""))
        status = self.dice.choice(list(StatusCode))
        self.dice.choice(
            (
                lambda: span.set_attribute(key, self.value(key)),
                lambda: span.set_attributes(self.attributes()),
                lambda: span.add_event(*event),
                lambda: span.set_status(self.dice.choice((status, Status(status)))),
                lambda: span.record_exception(self.dice.choice(ERRORS)()),
                lambda: span.update_name(self.dice.choice(NAMES)),
                lambda: span.add_link(REMOTE),
                lambda: span.end(self.time()) if self.chance(0.1) else None,
                lambda: [span.add_event("step") for _ in range(140)] if self.chance(0.03) else None,
            )
        )()
