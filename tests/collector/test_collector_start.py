"""The shipped file as such: it is valid without any variable, starts without a warning, and shows its own health."""

import re
import subprocess
from pathlib import Path

from tests.collector.bench import Bench, own
from tools.collector import CONFIG, Collector
from tools.expected import SHIPPED, Seen
from tools.otlp import Spec, send, send_http, traces
from tools.otlp_sink import Sink
from tools.programs import ensure
from tools.waiting import until

OVERFLOW = re.compile(r'^span_calls_total{.*otel_metric_overflow="true"} ([1-9].*)$', re.MULTILINE)


def test_it_is_valid_without_any_variable() -> None:
    command = [str(ensure("otelcol")), "validate", f"--config={CONFIG}"]
    result = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_every_variable_has_a_default() -> None:
    used = re.findall(r"\$\{env:([^}]*)\}", CONFIG.read_text().replace("${env:…}", ""))
    assert used
    assert [variable for variable in used if not re.fullmatch(r"[A-Z_]+:-\S+", variable)] == []


def test_it_starts_and_works_without_a_warning(bench: Bench) -> None:
    bench.derive(traces([Spec("process_message")]))
    assert [line for line in bench.collector.log().splitlines() if "\tinfo\t" not in line] == []


def test_it_tells_its_own_health(bench: Bench) -> None:
    spec = Spec("process_message")
    bench.derive(traces([spec]))
    bench.stored(spec.trace_id)
    own_metrics = bench.collector.own_metrics()
    assert own_metrics["otelcol_receiver_accepted_spans"] >= 1
    assert own_metrics["otelcol_exporter_queue_capacity"] == 1 << 30
    assert own_metrics["otelcol_process_memory_rss"] > 0
    assert {"otelcol_exporter_sent_spans", "otelcol_exporter_queue_size"} <= own_metrics.keys()


def test_too_large_exports_are_refused_and_the_rest_goes_on(bench: Bench) -> None:
    huge = traces([Spec("process_message", {"lane": "x" * 5_000_000})])
    assert send_http(bench.collector.http, huge).status_code in {400, 413}
    assert bench.derive(traces([Spec("process_message")])) == {}


def test_too_many_series_show_as_overflow_and_totals_stay_right(store: Sink, tmp_path: Path) -> None:
    limit = "connectors::span_metrics::aggregation_cardinality_limit: 3"
    lanes = SHIPPED.derived["lane_classification_total"].labels["lane"]
    with Collector(tmp_path, store.endpoint, changes=[limit]).running() as collector:
        send(collector.grpc, traces(own([Seen("lane.classify", {"lane": lane}) for lane in lanes])))
        [overflow] = until(lambda: OVERFLOW.findall(collector.exposition()), "the overflow is shown")
        [lanes_counted] = [family for family in collector.families() if family.name == "lane_classification"]
        assert sum(sample.value for sample in lanes_counted.samples) + float(overflow) == len(lanes)
