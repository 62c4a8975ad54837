"""What a span costs, in what depends on no machine and no load: the Python functions that are called for it."""

import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

from app.observability import add_span_event, observe_lane_classification, trace_span
from app.observability.telemetry import Telemetry


def calls(work: Callable[[], None]) -> int:
    """Python functions that are called within it, in this thread."""
    work()  # what is remembered is remembered
    called: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            called[frame.f_code.co_qualname] += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return called.total()


def test_a_span_costs_no_more_than_so_many_calls(telemetry: Telemetry) -> None:
    def empty() -> None:
        pass

    def span() -> None:
        with trace_span("lane.classify", {"lane": "faq", "status": "success", "patient": "maria"}):
            pass

    def event() -> None:
        with trace_span("lane.classify"):
            add_span_event("hydration_started")

    def observed() -> None:
        observe_lane_classification(lane="faq", duration_seconds=0.1)

    overhead = calls(empty)
    found = {work.__name__: calls(work) - overhead for work in (span, event, observed)}
    bounds = {"span": 22, "event": 32, "observed": 17}  # with the SDK's tracer a span took 85
    assert telemetry.flush()
    assert {name: count for name, count in found.items() if count > bounds[name]} == {}
