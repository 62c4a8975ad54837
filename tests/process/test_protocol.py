"""Over HTTP as over gRPC: what a process sends is counted by the real Collector, to the unit."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.base.otlp_sink import Sink
from tools.base.wait import until
from tools.replay.collector import Collector

PROGRAM = """
from app.observability import init_tracing, observe_mem0_queue_size, trace_span

telemetry = init_tracing()
observe_mem0_queue_size(size=7)
for number in range(3000):
    with trace_span("lane.classify", {"lane": "faq", "status": "success"}):
        pass
assert telemetry.flush(120)
telemetry.shutdown()
"""


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_what_is_sent_is_counted(tmp_path: Path, protocol: str) -> None:
    with Sink().listening() as store, Collector(tmp_path, store.endpoint).running() as collector:
        endpoint = collector.grpc if protocol == "grpc" else collector.http
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{endpoint}", "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
        subprocess.run([sys.executable, "-c", PROGRAM], env={"PYTHONPATH": "service:."} | variables, check=True)

        def shown() -> dict[str, float]:
            wanted = ("lane_classification_total", "mem0_write_queue_size", "telemetry_spans_lost_total")
            return {name: value for (name, _), value in collector.samples().items() if name in wanted and value}

        until(lambda: shown() == {"lane_classification_total": 3000, "mem0_write_queue_size": 7}, "all is counted")
