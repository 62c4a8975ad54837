"""Trouble with the trace store costs no count, and no trace that fits the queue, not even if the process is killed."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.collector.bench import Bench, own
from tools.base.otlp import Spec, send, send_http, traces
from tools.base.otlp_sink import Sink
from tools.base.wait import until
from tools.model.expected import Seen, expected
from tools.replay.collector import CONFIG, Collector

EXPORTS, SPANS_EACH = 20, 50
MARKING_SPANS = 2  # that settle() sends
SEEN = Seen("lane.classify", {"lane": "price"}, 1_953_125)  # 2⁻⁹ s, whose sums are exact
EVERYTHING = expected([SEEN] * EXPORTS * SPANS_EACH)

RETRYABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED}

Trouble = Callable[[Sink], None]
TROUBLES: dict[str, Trouble] = {
    "away": lambda store: store.close(),
    "refusing": lambda store: store.answer("refuse"),
    "hanging": lambda store: store.answer("hang"),
}


def send_like_a_service(collector: Collector) -> list[Spec]:
    """Many exports, each repeated as long as the Collector asks for it; what was sent."""
    sent = []
    for _ in range(EXPORTS):
        specs = own([SEEN] * SPANS_EACH)
        export_with_retries(collector, specs)
        sent += specs
    return sent


def export_with_retries(collector: Collector, specs: list[Spec]) -> None:
    """What an SDK does on a retryable answer, without its pauses."""
    for _ in range(5):
        try:
            send(collector.grpc, traces(specs))
        except grpc.RpcError as error:
            if error.code() not in RETRYABLE:
                raise
        else:
            return


@contextmanager
def collector(directory: Path, store: Sink, *changes: str) -> Iterator[Bench]:
    """A Collector of a test's own."""
    with Collector(directory, store.endpoint, changes=changes).running() as process:
        yield Bench(process, store)


@pytest.fixture
def sink() -> Iterator[Sink]:
    """A trace store that one test may mistreat."""
    with Sink().listening() as store:
        yield store
        store.answer("take")


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=list(TROUBLES))
def test_counts_stay_exact_and_every_span_arrives_once_later(sink: Sink, tmp_path: Path, trouble: Trouble) -> None:
    with collector(tmp_path, sink) as bench:
        bench.settle()
        before = bench.samples()
        trouble(sink)
        sent = send_like_a_service(bench.collector)
        bench.settle()
        after = bench.samples()
        assert {key: after[key] - before.get(key, 0) for key in EVERYTHING} == pytest.approx(EVERYTHING)
        recover(sink, trouble)
        assert_each_arrives_once(sink, sent)


def test_counts_stay_exact_with_a_full_queue_and_a_client_that_retries(sink: Sink, tmp_path: Path) -> None:
    trouble = TROUBLES["hanging"]
    trouble(sink)
    with collector(tmp_path, sink, "exporters::otlp_grpc::sending_queue::queue_size: 20000") as bench:
        sent = send_like_a_service(bench.collector)
        bench.settle()
        after = bench.samples()
        assert {key: after[key] for key in EVERYTHING} == pytest.approx(EVERYTHING)
        assert 0 < bench.collector.own_metrics()["otelcol_exporter_enqueue_failed_spans"] < len(sent)
        recover(sink, trouble)


class Slow(Sink):
    """A store that answers each export late, but does."""

    SECONDS = 1.0  # the Collector waits 5

    def _export(self, request: ExportTraceServiceRequest, context: Any) -> bytes:
        time.sleep(self.SECONDS)
        return super()._export(request, context)


def test_counts_stay_exact_with_a_slow_store_a_full_queue_and_a_client_that_retries(tmp_path: Path) -> None:
    slow = Slow()
    slow.open()
    queue = "exporters::otlp_grpc::sending_queue: {queue_size: 20000, num_consumers: 1}"
    with collector(tmp_path, slow, queue, "exporters::otlp_grpc::sending_queue::batch: {min_size: 50}") as bench:
        sent = send_like_a_service(bench.collector)
        bench.settle()
        assert bench.samples().items() >= EVERYTHING.items()
        full = bench.collector.own_metrics().get("otelcol_exporter_enqueue_failed_spans", 0)
        assert 0 < full < len(sent)
        until(lambda: len(lane_spans(slow)) == len(sent) - full, "what fitted the queue is stored")
        assert set(Counter(lane_spans(slow)).values()) == {1}
    slow.close()


def test_counts_stay_exact_with_a_store_that_takes_and_never_answers(sink: Sink, tmp_path: Path) -> None:
    """The store has them again and again, and is asked for ever; the metrics have them once."""
    sink.answer("swallow")
    with collector(tmp_path, sink, "exporters::otlp_grpc::timeout: 500ms") as bench:
        sent = send_like_a_service(bench.collector)
        until(lambda: len(lane_spans(sink)) > len(sent), "the store was asked again")
        bench.settle()
        assert bench.samples().items() >= EVERYTHING.items()


class Picky(Sink):
    """A store that refuses for good every export with a span of this name."""

    POISON = "poison"

    def _export(self, request: ExportTraceServiceRequest, context: Any) -> bytes:
        names = (
            span.name for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans
        )
        if self.POISON in names:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a poison batch")
        return super()._export(request, context)


def test_a_batch_that_the_store_never_takes_is_counted_once_told_and_stops_nothing(tmp_path: Path) -> None:
    picky = Picky()
    picky.open()
    with collector(tmp_path, picky) as bench:
        poison = [Spec(Picky.POISON), *own([SEEN] * SPANS_EACH)]
        export_with_retries(bench.collector, poison)
        until(lambda: failed(bench) >= len(poison), "the store has refused it")
        sent = send_like_a_service(bench.collector)
        assert_each_arrives_once(picky, sent)
        bench.settle()
        assert bench.samples().items() >= expected([SEEN] * SPANS_EACH * (EXPORTS + 1)).items()
        assert failed(bench) == len(poison)
    picky.close()


def failed(bench: Bench) -> float:
    """Spans that the store refused for good."""
    return bench.collector.own_metrics().get("otelcol_exporter_send_failed_spans", 0)


def test_an_export_that_cannot_be_read_is_refused_for_good_and_counts_nothing(sink: Sink, tmp_path: Path) -> None:
    with collector(tmp_path, sink) as bench:
        poison = traces([*own([SEEN] * SPANS_EACH), Spec("process_message", trace_id=b"short")])
        with pytest.raises(grpc.RpcError) as refusal:
            send(bench.collector.grpc, poison)
        assert refusal.value.code() not in RETRYABLE
        assert send_http(bench.collector.http, poison).status_code == 400
        sent = send_like_a_service(bench.collector)
        bench.settle()
        assert bench.samples().items() >= EVERYTHING.items()
        assert_each_arrives_once(sink, sent)


FAILING = (
    "processors: {transform/failing: {error_mode: propagate, trace_statements: [{context: span, statements: "
    """['set(span.attributes["lane"], ParseJSON("{")) where span.name == "poison"']}]}}""",
    "service::pipelines::traces::processors: "
    "[memory_limiter, filter/services, transform/spans, transform/failing, batch]",
)


def test_a_batch_on_which_a_statement_fails_is_refused_again_and_again_and_counts_nothing(
    sink: Sink, tmp_path: Path
) -> None:
    """The shipped statements don't fail; one that somebody adds may, and costs only the exports that it fails on."""
    with collector(tmp_path, sink, *FAILING) as bench:
        export_with_retries(bench.collector, [Spec("poison"), *own([SEEN] * SPANS_EACH)])
        sent = send_like_a_service(bench.collector)
        export_with_retries(bench.collector, [Spec("poison"), *own([SEEN] * SPANS_EACH)])
        bench.settle()
        assert bench.samples().items() >= EVERYTHING.items()
        assert bench.collector.own_metrics()["otelcol_receiver_accepted_spans"] == len(sent) + MARKING_SPANS
        assert_each_arrives_once(sink, sent)


def lane_spans(store: Sink) -> list[bytes]:
    """The traces of the spans that this file sends, in the order of their arrival."""
    return [span.trace_id for span in list(store.spans()) if span.name == SEEN.family]


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=list(TROUBLES))
def test_the_queue_survives_kill_9_and_every_counted_span_is_delivered_once(
    sink: Sink, tmp_path: Path, trouble: Trouble
) -> None:
    trouble(sink)
    killed = Collector(tmp_path, sink.endpoint)
    killed.start()
    try:
        sent = send_like_a_service(killed)
        Bench(killed, sink).settle()  # an export is answered a moment before it is on disk, but counted after
    finally:
        killed.stop(signal.SIGKILL)
    recover(sink, trouble)
    with collector(tmp_path, sink):
        assert_each_arrives_once(sink, sent)


def test_a_stop_loses_no_span_what_is_not_delivered_yet_is_after_the_next_start(sink: Sink, tmp_path: Path) -> None:
    with collector(tmp_path, sink) as bench:
        sent = send_like_a_service(bench.collector)
    assert bench.collector.process.returncode == 0
    with collector(tmp_path, sink):
        assert_each_arrives_once(sink, sent)


def recover(store: Sink, trouble: Trouble) -> None:
    """The store works again."""
    store.answer("take")
    if trouble is TROUBLES["away"]:
        store.open()


def assert_each_arrives_once(store: Sink, sent: list[Spec]) -> None:
    """All that was sent is stored, and nothing twice."""
    wanted = Counter(spec.trace_id for spec in sent)

    def arrived() -> Counter[bytes]:
        return Counter(span.trace_id for span in store.spans() if span.trace_id in wanted)

    until(lambda: arrived().keys() >= wanted.keys(), "every span is stored")
    assert arrived() == wanted


def test_no_trace_is_given_up_because_of_the_time_that_the_store_is_away() -> None:
    """Read, not waited for: without this the exporter gives up after five minutes."""
    retries = yaml.safe_load(CONFIG.read_text("utf-8"))["exporters"]["otlp_grpc"]["retry_on_failure"]
    assert retries["max_elapsed_time"] == "0s"
