"""A canary in every field of OTLP, found through the protobuf descriptors, so that a new field is not forgotten."""

import base64
import json
import re
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Exemplar,
    Gauge,
    Metric,
    NumberDataPoint,
    Sum,
)

from tests.leaks.canaries import Canary
from tools.base import otlp
from tools.base.otlp import ASYNCPG, FASTAPI, OWN, SERVICE, attributes
from tools.model.contract import attribute
from tools.stack.programs import ROOT

Export = ExportTraceServiceRequest | ExportMetricsServiceRequest | ExportLogsServiceRequest

IDS = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}
TIMES = ("time_unix_nano", "start_time_unix_nano", "end_time_unix_nano")
VALUES = ("as_int", "as_double")  # of gauges and sums: what is measured
DEPTH = 2  # values within values
DEPRECATED_SCOPES = 1000  # of ResourceSpans and its like; today `reserved`

CONTRACT: dict[str, Any] = yaml.safe_load((ROOT / "otel-collector" / "metrics.yaml").read_text("utf-8"))
LABELS = {attribute(label) for metric in CONTRACT["metrics"] for label in metric["labels"]}
ALLOWED = sorted(LABELS.union(*(CONTRACT["attributes"][part] for part in ("resource", "span", "event"))))
"""The keys of attributes that may leave: whatever else is under them may not."""
KEYS = {  # by where the attributes are
    "resource.attributes": list(CONTRACT["attributes"]["resource"]),
    "events.attributes": list(CONTRACT["attributes"]["event"]),
    "data_points.attributes": ["reason", "instance", *CONTRACT["attributes"]["resource"]],
    "filtered_attributes": ["reason"],
}
NAMES = ("lane.classify", "POST /webhooks/evolution")
SCOPES = (OWN, ASYNCPG, FASTAPI)
INSTRUMENTS = tuple(one["source"]["instrument"] for one in CONTRACT["metrics"] if "instrument" in one["source"])


def kept(field: FieldDescriptor) -> bool:
    """Whether the field holds no text by nature and must pass: an id, a time, a measured value, yes or no."""
    return field.name in IDS or field.name in TIMES or field.name in VALUES or field.type == field.TYPE_BOOL


def scalar(field: FieldDescriptor, canary: Canary) -> Any:
    """The canary as this field can carry it."""
    if field.name in IDS:
        return secrets.token_bytes(IDS[field.name])
    if field.name in TIMES:
        return time.time_ns()
    if field.name in VALUES:
        return 5
    if field.type == field.TYPE_BOOL:
        return True
    if field.type == field.TYPE_STRING:
        return canary.text
    if field.type == field.TYPE_BYTES:
        return canary.text.encode()
    if field.type in (field.TYPE_DOUBLE, field.TYPE_FLOAT):
        return float(canary.number)
    wide = (field.TYPE_INT64, field.TYPE_UINT64, field.TYPE_FIXED64, field.TYPE_SFIXED64, field.TYPE_SINT64)
    return canary.number if field.type in wide else canary.small


def variants(descriptor: Descriptor, canary: Canary, above: tuple[str, ...] = ()) -> list[Message]:
    """Messages of a kind that together have the canary in every field, each alternative of a `oneof` in one of them."""
    if above.count(descriptor.full_name) >= DEPTH:
        return []
    choices: dict[str, list[tuple[FieldDescriptor, Any]]] = {}
    for field in descriptor.fields:
        group = field.containing_oneof.name if field.containing_oneof else field.name
        choices.setdefault(group, []).extend(_choices(field, canary, (*above, descriptor.full_name)))
    count = max((len(choice) for choice in choices.values()), default=1)
    return [
        _message(descriptor, canary, [choice[i % len(choice)] for choice in choices.values() if choice])
        for i in range(count)
    ]


def _choices(field: FieldDescriptor, canary: Canary, above: tuple[str, ...]) -> list[tuple[FieldDescriptor, Any]]:
    values = variants(field.message_type, canary, above) if field.message_type else [scalar(field, canary)]
    return [(field, values)] if field.is_repeated else [(field, value) for value in values]


def _message(descriptor: Descriptor, canary: Canary, content: Iterable[tuple[FieldDescriptor, Any]]) -> Message:
    message = GetMessageClass(descriptor)()
    for field, value in content:
        if field.is_repeated:
            getattr(message, field.name).extend(value)
        elif field.message_type:
            getattr(message, field.name).CopyFrom(value)
        else:
            setattr(message, field.name, value)
    message.MergeFromString(_field(2000, canary.text.encode()))  # which OTLP does not have
    return message


def _field(number: int, content: bytes) -> bytes:
    """A field by its number, as protobuf writes it."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    groups = [number >> shift & 127 for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([*(group | 128 for group in groups[:-1]), groups[-1]])


def planted(kind: type[Export], canary: Canary) -> Any:
    """An export with the canary in every field, and in one that the descriptors no longer have, but Collectors read."""
    [export] = variants(kind.DESCRIPTOR, canary)
    for [part] in (value for _, value in export.ListFields()):
        scopes = next(value for field, value in part.ListFields() if field.name.startswith("scope_"))
        part.MergeFromString(b"".join(_field(DEPRECATED_SCOPES, scope.SerializeToString()) for scope in scopes))
    return export


def old(export: Export) -> Export:
    """The same as senders of 2022 wrote it: with the scopes in that field only."""
    for field, [part] in export.ListFields():
        scopes = next(value for one, value in part.ListFields() if one.name.startswith("scope_"))
        content = b"".join(_field(DEPRECATED_SCOPES, scope.SerializeToString()) for scope in scopes)
        del scopes[:]
        getattr(export, field.name)[0].MergeFromString(content)
    return export


def turns(canary: Canary) -> range:
    """The numbers of the kinds of values that an attribute can have."""
    return range(len(variants(KeyValue.DESCRIPTOR, canary)))


def traces(canary: Canary, turn: int, resource: Mapping[str, str] = SERVICE) -> ExportTraceServiceRequest:
    """Spans that get as far as they can: of the known service and scopes, with the names and keys that are allowed.

    The resource's own attributes come first. Under each allowed key is the canary as the kind of value whose turn it
    is, and then once more: OTLP's lists may repeat a key.
    """
    export: ExportTraceServiceRequest = planted(ExportTraceServiceRequest, canary)
    for part in export.resource_spans:
        [scope], [span] = part.scope_spans, part.scope_spans[0].spans
        for name in NAMES:
            scope.spans.add().CopyFrom(span)
            scope.spans[-1].name = name
            scope.spans[-1].kind = span.SPAN_KIND_SERVER if " " in name else span.SPAN_KIND_INTERNAL
        for name in SCOPES:
            part.scope_spans.add().CopyFrom(scope)
            part.scope_spans[-1].scope.name = name
        _tempt(part, canary, turn, resource)
    return export


def metrics(canary: Canary, turn: int, resource: Mapping[str, str] = SERVICE) -> ExportMetricsServiceRequest:
    """Metrics that get as far as they can: of every kind, with a name of its own and those that are allowed."""
    export: ExportMetricsServiceRequest = planted(ExportMetricsServiceRequest, canary)
    for part in export.resource_metrics:
        [scope] = part.scope_metrics
        for metric in list(scope.metrics):
            for name in INSTRUMENTS:
                scope.metrics.add().CopyFrom(metric)
                scope.metrics[-1].name = name
                if metric.HasField("sum"):
                    scope.metrics[-1].sum.aggregation_temporality = 2  # cumulative
        _tempt(part, canary, turn, resource)
    return export


def plain_metrics(canary: Canary) -> ExportMetricsServiceRequest:
    """The two instruments and a third, with one attribute: Prometheus refuses labels as strange as `metrics` has."""
    entries = attributes({"patient": canary.text})
    point = NumberDataPoint(as_int=5, time_unix_nano=time.time_ns(), attributes=entries)
    exemplar = Exemplar(as_int=5, time_unix_nano=time.time_ns(), filtered_attributes=entries)
    exemplar.trace_id, exemplar.span_id = secrets.token_bytes(16), secrets.token_bytes(8)
    point.exemplars.append(exemplar)
    cumulative = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    total = Sum(data_points=[point], aggregation_temporality=cumulative, is_monotonic=True)
    level, lost = INSTRUMENTS
    made = [
        Metric(name=level, gauge=Gauge(data_points=[point])),
        Metric(name=canary.text, gauge=Gauge(data_points=[point])),
        Metric(name=lost, sum=total),
    ]
    for metric in made:
        metric.description = metric.unit = canary.text
    return otlp.metrics(made, {**SERVICE, "patient": canary.text})


def _tempt(part: Any, canary: Canary, turn: int, resource: Mapping[str, str]) -> None:
    values = variants(KeyValue.DESCRIPTOR, canary)
    for path, entries in list(lists(part)):
        rest = list(entries)
        del entries[:]
        entries.extend(attributes(resource) if path == "resource.attributes" else [])
        for key in next((keys for end, keys in KEYS.items() if path.endswith(end)), ALLOWED):
            for value in (values[turn], values[0]):
                entries.add().CopyFrom(value)
                entries[-1].key = key
        entries.extend(rest)


def lists(message: Message, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every list of attributes."""
    for field, value in message.ListFields():
        here = f"{path}.{field.name}".removeprefix(".")
        if field.message_type is KeyValue.DESCRIPTOR and field.is_repeated:
            yield here, value
        elif field.message_type:
            for one in value if field.is_repeated else [value]:
                yield from lists(one, here)


def fields_of(descriptor: Descriptor, above: tuple[str, ...] = ()) -> set[FieldDescriptor]:
    """Every field that holds a value and can be reached from here."""
    found: set[FieldDescriptor] = set()
    for field in descriptor.fields:
        if not field.message_type:
            found.add(field)
        elif field.message_type.full_name not in above:
            found |= fields_of(field.message_type, (*above, descriptor.full_name))
    return found


def leaves(message: Message) -> dict[str, bytes]:
    """What a message holds, by the path of the field, one value a line; attributes by their key."""
    found: defaultdict[str, set[bytes]] = defaultdict(set)
    for path, value in _leaves(message, ""):
        found[path].add(value if isinstance(value, bytes) else str(value).encode())
    return {path: b"\n".join(sorted(values)) for path, values in sorted(found.items())}


_HARMLESS = re.compile(r"[a-z_.]{1,40}")


def _leaves(message: Message, path: str) -> Iterator[tuple[str, Any]]:
    for field, value in message.ListFields():
        here = f"{path}.{field.name}".removeprefix(".")
        for one in value if field.is_repeated else [value]:
            if not field.message_type:
                yield here, one
            elif isinstance(one, KeyValue):
                yield here, one.key
                key = one.key if _HARMLESS.fullmatch(one.key) else "…"
                yield from _leaves(one.value, f"{here}[{key}]")
                if one.key_strindex:
                    yield f"{here}.key_strindex", one.key_strindex
            else:
                yield from _leaves(one, here)


def as_json(export: Export) -> bytes:
    """As OTLP/HTTP has it in JSON: ids in hexadecimal."""
    document = MessageToDict(export, use_integers_for_enums=True)
    _hexadecimal(document)
    return json.dumps(document).encode()


def _hexadecimal(part: Any) -> None:
    for key, value in list(part.items() if isinstance(part, dict) else enumerate(part)):
        if key in ("traceId", "spanId", "parentSpanId"):
            part[key] = base64.b64decode(value).hex()
        elif isinstance(value, dict | list):
            _hexadecimal(value)


def filled(message: Message) -> set[FieldDescriptor]:
    """The fields of a message, and of all within, that hold a value."""
    found: set[FieldDescriptor] = set()
    for field, value in message.ListFields():
        if not field.message_type:
            found.add(field)
        else:
            found |= {one for part in (value if field.is_repeated else [value]) for one in filled(part)}
    return found
