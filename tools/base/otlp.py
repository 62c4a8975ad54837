"""OTLP as any client could send it: spans and metrics built field by field, also those that no SDK would send."""

import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, ResourceMetrics
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

OWN = "app.observability"
ASYNCPG = "opentelemetry.instrumentation.asyncpg"
FASTAPI = "opentelemetry.instrumentation.fastapi"
REDIS = "opentelemetry.instrumentation.redis"
SERVICE = {"service.name": "healthcare-backend"}
TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"

Request = ExportTraceServiceRequest | ExportMetricsServiceRequest


@dataclass
class Spec:
    """One span in short. Durations are nanoseconds, because bucket edges are exact."""

    name: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    nanoseconds: int = 1_000_000
    scope: str = OWN
    kind: Span.SpanKind.ValueType = Span.SPAN_KIND_INTERNAL
    failed: bool = False
    trace_id: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    span_id: bytes = field(default_factory=lambda: secrets.token_bytes(8))
    end: int = 0
    """Nanoseconds since 1970; 0 is the moment in which the span is made."""

    def span(self) -> Span:
        """The span as OTLP has it."""
        end = self.end or time.time_ns()
        return Span(
            trace_id=self.trace_id,
            span_id=self.span_id,
            name=self.name,
            kind=self.kind,
            start_time_unix_nano=end - self.nanoseconds,
            end_time_unix_nano=end,
            attributes=attributes(self.attributes),
            status=Status(code=Status.STATUS_CODE_ERROR if self.failed else Status.STATUS_CODE_UNSET),
        )


def value(content: Any) -> AnyValue:
    """A Python value as OTLP carries it: None is the empty value, dicts and lists may nest."""
    if content is None:
        return AnyValue()
    if isinstance(content, bool):
        return AnyValue(bool_value=content)
    if isinstance(content, str):
        return AnyValue(string_value=content)
    if isinstance(content, int):
        return AnyValue(int_value=content)
    if isinstance(content, float):
        return AnyValue(double_value=content)
    if isinstance(content, bytes):
        return AnyValue(bytes_value=content)
    if isinstance(content, dict):
        return AnyValue(kvlist_value=KeyValueList(values=attributes(content)))
    return AnyValue(array_value=ArrayValue(values=[value(item) for item in content]))


def attributes(content: Mapping[str, Any]) -> list[KeyValue]:
    """A mapping as a list of OTLP attributes."""
    return [KeyValue(key=key, value=value(item)) for key, item in content.items()]


def traces(specs: Iterable[Spec], resource: Mapping[str, Any] = SERVICE) -> ExportTraceServiceRequest:
    """One export of these spans, those of one scope together."""
    resource_spans = ResourceSpans()
    resource_spans.resource.attributes.extend(attributes(resource))
    scopes: dict[str, ScopeSpans] = {}
    for spec in specs:
        if spec.scope not in scopes:
            scopes[spec.scope] = resource_spans.scope_spans.add()
            scopes[spec.scope].scope.name = spec.scope
        scopes[spec.scope].spans.append(spec.span())
    return ExportTraceServiceRequest(resource_spans=[resource_spans])


def metrics(items: Iterable[Metric], resource: Mapping[str, Any] = SERVICE) -> ExportMetricsServiceRequest:
    """One export of these metrics."""
    resource_metrics = ResourceMetrics()
    resource_metrics.resource.attributes.extend(attributes(resource))
    resource_metrics.scope_metrics.add().metrics.extend(items)
    return ExportMetricsServiceRequest(resource_metrics=[resource_metrics])


def send(endpoint: str, request: Request, seconds: float = 10) -> None:
    """Export over gRPC.

    Raises:
        grpc.RpcError: the Collector did not take it.
    """
    path = METRICS if isinstance(request, ExportMetricsServiceRequest) else TRACES
    with grpc.insecure_channel(endpoint) as channel:
        channel.unary_unary(path)(request.SerializeToString(), timeout=seconds)


def send_http(endpoint: str, request: Request) -> httpx.Response:
    """Export over HTTP, as protobuf."""
    path = "metrics" if isinstance(request, ExportMetricsServiceRequest) else "traces"
    headers = {"Content-Type": "application/x-protobuf"}
    body = request.SerializeToString()
    return httpx.post(f"http://{endpoint}/v1/{path}", content=body, headers=headers, timeout=10, trust_env=False)
