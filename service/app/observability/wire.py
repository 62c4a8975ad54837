"""Spans as OTLP's bytes, made of what the contract lets out and of nothing else.

Cleaning is a look-up: each attribute that may leave has a table from its values to finished bytes. A value that is not
in it has those of `other`, an attribute without a table has none. So SQL text, exception messages and addresses, which
instrumentations put on their spans and have no switch for, are not even kept until the span ends. Messages of protobuf,
one after the other, are one message: what never changes is encoded once, by protobuf itself, and then pasted.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from struct import Struct

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.trace import SpanKind

from app.observability.contract import OTHER, ClosedSet, Contract, Rule, Value, contract

_NAMES = 1024  # so many are remembered
SPAN_BYTES = 512 * 1024  # a longer one is nonsense, and the Collector takes 4 MiB at a time
_FLAGS = trace_pb2.SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_REMOTE = trace_pb2.SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK

# Fields of a span that are there always, as tag and length (bytes) or as tags and numbers.
TRACE_ID, SPAN_ID, PARENT_ID = b"\x0a\x10", b"\x12\x08", b"\x22\x08"
times = Struct("<BQBQ").pack
START, END = 0x39, 0x41
_event_time = Struct("<BQ").pack
_EVENT_TIME = 0x09
_EVENT, _SPAN, _SCOPE_SPANS, _RESOURCE_SPANS = b"\x5a", b"\x12", b"\x12", b"\x0a"


def _length(number: int) -> bytes:
    """A varint."""
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)


_LENGTHS = [_length(number) for number in range(2048)]


def framed(span: bytes) -> bytes:
    """A span as a field of its scope.

    Raises:
        ValueError: it is longer than SPAN_BYTES.
    """
    size = len(span)
    if size > SPAN_BYTES:
        raise ValueError("the span is too long")
    return _SPAN + (_LENGTHS[size] if size < 2048 else _length(size)) + span


class _OfClosedSet(dict[object, bytes]):
    """The finished field for each value of an attribute; any other value has that of `other`."""

    def __init__(self, rule: ClosedSet, encode: Callable[[Value], bytes]) -> None:
        super().__init__({value: encode(value) for value in rule.values})
        self.other = encode(OTHER)

    def __missing__(self, value: object) -> bytes:
        return self.other


class _ByRule:
    """The field for what a rule leaves of a value: a shape has too many values to list them."""

    def __init__(self, rule: Rule, encode: Callable[[Value], bytes]) -> None:
        self._rule = rule
        self._encode = encode
        self.other = encode(OTHER)

    def __getitem__(self, value: object) -> bytes:
        return self._encode(self._rule(value))


Table = _OfClosedSet | _ByRule


def _table(rule: Rule, encode: Callable[[Value], bytes]) -> Table:
    return _OfClosedSet(rule, encode) if isinstance(rule, ClosedSet) else _ByRule(rule, encode)


def _attribute(key: str, value: Value) -> KeyValue:
    return KeyValue(
        key=key, value=AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value)
    )


def _of_span(key: str) -> Callable[[Value], bytes]:
    return lambda value: trace_pb2.Span(attributes=[_attribute(key, value)]).SerializeToString()


def _of_event(key: str) -> Callable[[Value], bytes]:
    return lambda value: trace_pb2.Span.Event(attributes=[_attribute(key, value)]).SerializeToString()


SPAN: dict[str, Table] = {}  # by attribute; filled by learn()
EVENT: dict[str, Table] = {}


def learn(rules: Contract) -> None:
    """Let out what this contract lists; before the first span is made."""
    SPAN.update({key: _table(rule, _of_span(key)) for key, rule in rules.span.items()})
    EVENT.update({key: _table(rule, _of_event(key)) for key, rule in rules.event.items()})


def kept(attributes: Mapping[str, object], tables: Mapping[str, Table]) -> Iterable[bytes]:
    """The fields of those attributes that may leave."""
    for key, value in attributes.items():
        table = tables.get(key)
        if table is not None:
            yield field(table, value)


def field(table: Table, value: object) -> bytes:
    """The field for a value of whatever kind: one that can't be looked up is `other`."""
    try:
        return table[value]
    except Exception:  # it is not hashable, or not UTF-8, or has code of its own that fails
        return table.other


class _Names(dict[object, bytes]):
    """The finished field for each name: of those shapes that the contract allows, else `other`."""

    def __init__(self, encode: Callable[[str], bytes]) -> None:
        super().__init__()
        self._encode = encode

    def __missing__(self, name: object) -> bytes:
        clean = contract().name(name)
        # asyncpg's name of a cursor's span holds a space, which no shape allows; the Collector knows the word.
        if clean == OTHER and isinstance(name, str) and name.startswith("CURSOR: "):
            clean = "cursor"
        finished = self._encode(clean)
        if clean == name and len(self) < _NAMES:
            self[name] = finished
        return finished


SPAN_NAMES = _Names(lambda name: trace_pb2.Span(name=name).SerializeToString())
EVENT_NAMES = _Names(lambda name: trace_pb2.Span.Event(name=name).SerializeToString())
SCOPES = _Names(lambda name: trace_pb2.ScopeSpans(scope=InstrumentationScope(name=name)).SerializeToString())

KINDS = tuple(  # by the number of OpenTelemetry's API, of which OTLP's is one more; and whether the parent is remote
    tuple(
        trace_pb2.Span(kind=kind.value + 1, flags=flags).SerializeToString()  # type: ignore[arg-type]
        for kind in sorted(SpanKind, key=lambda kind: kind.value)
    )
    for flags in (_FLAGS, _FLAGS | _REMOTE)
)
STATUS = (  # by the number of the code; the description is free text and never leaves
    b"",
    trace_pb2.Span(status=trace_pb2.Status(code=trace_pb2.Status.STATUS_CODE_OK)).SerializeToString(),
    trace_pb2.Span(status=trace_pb2.Status(code=trace_pb2.Status.STATUS_CODE_ERROR)).SerializeToString(),
)


def event(name: object, attributes: Mapping[str, object], nanoseconds: int) -> bytes:
    """An event, as a field of its span.

    Raises:
        TypeError, struct.error: the time or the name is nonsense.
    """
    body = b"".join((_event_time(_EVENT_TIME, nanoseconds), EVENT_NAMES[name], *kept(attributes, EVENT)))
    return _EVENT + _length(len(body)) + body


def resource(attributes: Mapping[str, str]) -> bytes:
    """Whose spans they are, as a field of an export."""
    message = Resource(attributes=[_attribute(key, value) for key, value in attributes.items()])
    finished: bytes = trace_pb2.ResourceSpans(resource=message).SerializeToString()
    return finished


def request(of: bytes, scopes: Sequence[tuple[bytes, Sequence[bytes]]]) -> bytes:
    """One export: a resource(), and of each scope its field of SCOPES and its framed() spans.

    The sizes are summed before, so that the spans are copied once.
    """
    parts = []
    total = len(of)
    for scope, spans in scopes:
        size = len(scope) + sum(map(len, spans))
        head = _SCOPE_SPANS + _length(size) + scope
        total += len(head) - len(scope) + size
        parts += [head, *spans]
    return b"".join((_RESOURCE_SPANS, _length(total), of, *parts))
