"""Spans made for a test, and those that arrived."""

from collections import Counter, deque

import pytest

from app.observability.channel import Channel, Grpc, Http
from app.observability.tracer import Tracer
from tools.base.otlp_sink import Sink

PATIENCE_MS = 120_000  # on a machine that has much else to do


BOTH = pytest.mark.parametrize("collector", ["grpc", "http/protobuf"], indirect=True)
"""What is promised whatever is spoken with the Collector."""


def to(collector: Sink) -> Channel:
    """The way there."""
    if collector.protocol == "grpc":
        return Grpc(collector.endpoint)
    return Http(f"http://{collector.endpoint}/v1/traces")


def make(tracer: Tracer, count: int) -> None:
    """So many, each ended at once."""
    for _ in range(count):
        tracer.start_span("lane.classify").end()


def make_one_batch(tracer: Tracer, names: list[str]) -> None:
    """Let them end at once, as far as the sender can tell."""
    queue = tracer.queue.spans
    tracer.queue.spans = deque()
    for name in names:
        tracer.start_span(name).end()
    queue.extend(tracer.queue.spans)
    tracer.queue.spans = queue


def arrived(collector: Sink) -> int:
    """Spans taken; fails if one came twice."""
    ids = Counter(span.span_id for span in collector.spans())
    assert max(ids.values(), default=1) == 1, "a span was delivered twice"
    return len(ids)
