"""Trouble with the trace store costs no count, and no trace that fits the queue, not even if the process is killed."""

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from tests.collector.bench import Bench, own
from tests.collector.oracle import Seen, expected
from tests.support.collector import Collector
from tests.support.otlp import Spec, send, traces
from tests.support.otlp_sink import Sink
from tests.support.waiting import until

EXPORTS, SPANS_EACH = 20, 50
SEEN = Seen("lane.classify", {"lane": "price"})
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
    store = Sink()
    store.open()
    yield store
    store.answer("take")
    store.close()


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
