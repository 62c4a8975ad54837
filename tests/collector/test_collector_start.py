"""The shipped file as such: it is valid without any variable, starts without a warning, and shows its own health."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from tests.collector.bench import Bench, own
from tools.base.otlp import Request, Spec, send, send_http, traces
from tools.base.otlp_sink import Sink
from tools.base.wait import until
from tools.model.expected import SHIPPED, Seen
from tools.replay.collector import CONFIG, Collector
from tools.stack.programs import ensure

LARGEST = 4 * 2**20
OVERFLOW = re.compile(r'^span_calls_total{.*otel_metric_overflow="true"} ([1-9].*)$', re.MULTILINE)


def test_it_is_valid_without_any_variable() -> None:
    command = [str(ensure("otelcol")), "validate", f"--config={CONFIG}"]
    result = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_it_starts_and_works_without_a_warning(bench: Bench) -> None:
    bench.derive(traces([Spec("process_message")]))
    assert [line for line in bench.collector.log().splitlines() if "\tinfo\t" not in line] == []


def test_it_tells_its_own_health(bench: Bench) -> None:
    spec = Spec("process_message")
    bench.derive(traces([spec]))
    bench.stored(spec.trace_id)
    own_metrics = bench.collector.own_metrics()
    assert own_metrics["otelcol_receiver_accepted_spans"] >= 1
    of_traces = r'^otelcol_exporter_queue_capacity{data_type="traces".*} (\S+)$'
    assert list(map(float, re.findall(of_traces, bench.collector.own_exposition(), re.MULTILINE))) == [1 << 30]
    assert own_metrics["otelcol_process_memory_rss"] > 0
    assert {"otelcol_exporter_sent_spans", "otelcol_exporter_queue_size"} <= own_metrics.keys()


def test_exports_larger_than_4_mib_are_refused_and_all_others_taken(bench: Bench) -> None:
    fits, too_large = _of_bytes(LARGEST), _of_bytes(LARGEST + 1)
    send(bench.collector.grpc, fits)
    with pytest.raises(grpc.RpcError) as refused:
        send(bench.collector.grpc, too_large)
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert send_http(bench.collector.http, fits).status_code == 200
    assert send_http(bench.collector.http, too_large).status_code == 400
    assert bench.derive(traces([Spec("process_message")])) == {}


def _of_bytes(size: int) -> Request:
    """An export of exactly this size."""
    spec = Spec("process_message", {"padding": "x" * (size - 200)})
    rest = size - traces([spec]).ByteSize()
    request = traces([replace(spec, attributes={"padding": "x" * (size - 200 + rest)})])
    assert request.ByteSize() == size
    return request


def test_too_many_series_show_as_overflow_and_totals_stay_right(store: Sink, tmp_path: Path) -> None:
    limit = "connectors::span_metrics::aggregation_cardinality_limit: 3"
    lanes = SHIPPED.derived["lane_classification_total"].labels["lane"]
    with Collector(tmp_path, store.endpoint, changes=[limit]).running() as collector:
        send(collector.grpc, traces(own([Seen("lane.classify", {"lane": lane}) for lane in lanes])))
        [overflow] = until(lambda: OVERFLOW.findall(collector.exposition()), "the overflow is shown")
        [lanes_counted] = [family for family in collector.families() if family.name == "lane_classification"]
        assert sum(sample.value for sample in lanes_counted.samples) + float(overflow) == len(lanes)
