"""OTLP over HTTP taken in the tools' own process, and the metrics in it as Prometheus' OTLP receiver names them."""

import gzip
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from tools.base.otlp_sink import Sink
from tools.model.expected import Samples

_UNITS = {"1": "ratio", "s": "seconds", "ms": "milliseconds", "By": "bytes"}


@contextmanager
def over_http(sink: Sink) -> Iterator[str]:
    """The same sink for OTLP over HTTP; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Take one export; bodies come compressed unless the exporter says otherwise."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            content = gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
            if self.path.endswith("/metrics"):
                sink.metrics.append(ExportMetricsServiceRequest.FromString(content))
            else:
                sink.requests.append(ExportTraceServiceRequest.FromString(content))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def received(exports: Iterable[ExportMetricsServiceRequest]) -> tuple[Samples, dict[str, tuple[str, str]]]:
    """What Prometheus has after these exports: the last value of each series; type and HELP of each metric.

    Gauges and counters only: the Collector pushes nothing else, or the plan would not show it.
    """
    samples: Samples = {}
    meaning = {}
    for export in exports:
        for resource in export.resource_metrics:
            identity = {item.key: item.value.string_value for item in resource.resource.attributes}
            own = {"job": identity.get("service.name", ""), "instance": identity.get("service.instance.id", "")}
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                name, kind = _named(metric)
                meaning[name] = (kind, metric.description)
                for point in (*metric.gauge.data_points, *metric.sum.data_points):
                    labels = {item.key: item.value.string_value for item in point.attributes}
                    labels |= {key: text for key, text in own.items() if text}
                    samples[name, frozenset(labels.items())] = point.as_double or float(point.as_int)
    return samples, meaning


def _named(metric: Metric) -> tuple[str, str]:
    """Name and type: underscores for what names may not have, then the unit, then what a counter ends with."""
    is_counter = metric.sum.is_monotonic
    name = "".join(letter if letter.isalnum() or letter == ":" else "_" for letter in metric.name)
    unit = "" if is_counter and metric.unit == "1" else _UNITS.get(metric.unit, "")
    for ending in (unit, "total" if is_counter else ""):
        name += f"_{ending}" if ending and not name.endswith(f"_{ending}") else ""
    return name, "counter" if is_counter else "gauge"
