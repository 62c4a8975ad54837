"""A running Collector with a recording trace store, and exact answers to "what did these spans add?"."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from tools.base.otlp import Request, Spec, send, send_http, traces
from tools.base.otlp_sink import Sink
from tools.base.wait import until
from tools.model.expected import Samples, Seen, added, expected, undocumented
from tools.replay import workload
from tools.replay.collector import Collector

_MARK = Seen("hydration.query", {"query_type": "slots"})
_MARKED = re.compile(r'^hydration_queries_total{.*query_type="slots".*} (\S+)$', re.MULTILINE)
_MARKS = 2


@dataclass
class Bench:
    """The Collector under test and the store behind it."""

    collector: Collector
    store: Sink

    def derive(self, *requests: Request, http: bool = False) -> Samples:
        """What these exports, over gRPC or HTTP, add to the exposition, complete and to the unit."""

        def send_all() -> None:
            for request in requests:
                if http:
                    send_http(self.collector.http, request).raise_for_status()
                else:
                    send(self.collector.grpc, request)

        return self.added_by(send_all)

    def added_by(self, act: Callable[[], None]) -> Samples:
        """What this action, which sends in its own way, adds to the exposition, complete and to the unit."""
        before = self.samples()
        act()
        self.settle()
        return added(added(self.samples(), before), expected([_MARK] * _MARKS))

    def settle(self) -> None:
        """Wait until all that was sent is shown.

        A new counter shows 0 at its first flush and its value at the second, hence two marking spans in turn.
        """
        for _ in range(_MARKS):
            count = self._marks()
            send(self.collector.grpc, traces([Spec(_MARK.family, _MARK.attributes)]))
            until(lambda seen=count: self._marks() > seen, "the marking span is counted")  # type: ignore[misc]

    def samples(self) -> Samples:
        """The exposition. Whatever a test sends, only what is documented may be in it."""
        samples: Samples = {}
        for family in self.collector.families():
            for sample in family.samples:
                assert undocumented(sample.name, sample.labels) == ""
                samples[sample.name, frozenset(sample.labels.items())] = sample.value
        return samples

    def stored(self, *trace_ids: bytes) -> list[Span]:
        """The spans of these traces, one each, as the store has them, in the order of the ids."""

        def by_trace() -> dict[bytes, Span]:
            return {span.trace_id: span for span in self.store.spans(*trace_ids)}

        until(lambda: by_trace().keys() >= set(trace_ids), "the spans are stored")
        return [by_trace()[trace_id] for trace_id in trace_ids]

    def stored_resource(self, trace_id: bytes) -> ResourceSpans:
        """The stored resource with the spans of a trace, all of it."""
        self.stored(trace_id)
        matching: list[ResourceSpans] = [
            resource
            for request in self.store.requests
            for resource in request.resource_spans
            if any(span.trace_id == trace_id for scope in resource.scope_spans for span in scope.spans)
        ]
        [found] = matching
        return found

    def _marks(self) -> float:
        line = _MARKED.search(self.collector.exposition())  # not parsed, because this is asked often
        return float(line[1]) if line else 0


def own(spans: Iterable[Seen]) -> list[Spec]:
    """Spans of the service's own scope that the metrics must see as these."""
    return list(map(workload.own, spans))


def plain(span: Span) -> dict[str, str | int]:
    """A stored span's attributes; all that may be stored are strings and integers."""
    kinds = {item.key: item.value.WhichOneof("value") for item in span.attributes}
    assert set(kinds.values()) <= {"string_value", "int_value"}, kinds
    return {item.key: item.value.string_value or item.value.int_value for item in span.attributes}
