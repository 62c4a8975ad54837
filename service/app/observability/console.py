"""Spans on a terminal, for debugging: read from the very bytes that leave."""

import json
import logging
import sys
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

log = logging.getLogger(__name__)


def show(body: bytes) -> None:
    """Print an export's spans as JSON; never raises."""
    try:
        for part in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _attributes(part.resource.attributes)
            for scope in part.scope_spans:
                for span in scope.spans:
                    print(json.dumps(_span(span) | {"scope": scope.scope.name, "resource": resource}, indent=4))
        sys.stdout.flush()
    except Exception as error:  # the terminal is gone
        log.warning("spans can't be printed (%s)", type(error).__name__)


def _span(span: Span) -> dict[str, Any]:
    return {
        "name": span.name,
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_id": span.parent_span_id.hex() or None,
        "kind": Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        "start_nanoseconds": span.start_time_unix_nano,
        "nanoseconds": span.end_time_unix_nano - span.start_time_unix_nano,
        "status": Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
        "attributes": _attributes(span.attributes),
        "events": [{"name": event.name, "attributes": _attributes(event.attributes)} for event in span.events],
    }


def _attributes(attributes: Any) -> dict[str, Any]:
    def value(item: KeyValue) -> Any:
        return getattr(item.value, item.value.WhichOneof("value") or "string_value")

    return {item.key: value(item) for item in attributes}
