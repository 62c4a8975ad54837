"""Metrics that were pushed over OTLP, as Prometheus' OTLP receiver names them."""

from collections.abc import Iterable

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from tools.model.expected import Samples

_UNITS = {"1": "ratio", "s": "seconds", "ms": "milliseconds", "By": "bytes"}


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
