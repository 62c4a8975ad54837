"""Telemetry of the backend: OpenTelemetry spans and two OpenTelemetry metrics over OTLP, nothing else.

The Collector's YAML derives the documented Prometheus series from the spans: see `otel-collector/README.md`.
"""

from app.observability.metrics import (
    observe_cache_hit,
    observe_cache_miss,
    observe_cache_operation,
    observe_database_query,
    observe_delivery_kept,
    observe_error,
    observe_hydration,
    observe_hydration_query,
    observe_idempotency_check,
    observe_lane_classification,
    observe_mem0_queue_size,
    observe_mem0_write,
    observe_reply_send,
    observe_request_latency,
)
from app.observability.telemetry import init_tracing
from app.observability.tracing import add_span_event, trace_span

__all__ = [
    "add_span_event",
    "init_tracing",
    "observe_cache_hit",
    "observe_cache_miss",
    "observe_cache_operation",
    "observe_database_query",
    "observe_delivery_kept",
    "observe_error",
    "observe_hydration",
    "observe_hydration_query",
    "observe_idempotency_check",
    "observe_lane_classification",
    "observe_mem0_queue_size",
    "observe_mem0_write",
    "observe_reply_send",
    "observe_request_latency",
    "trace_span",
]
