"""Whatever a sender puts into OTLP: only what the contract allows becomes a label or reaches the trace store."""

import base64
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status

from tests.collector.bench import Bench, plain
from tools.base.otlp import FASTAPI, SERVICE, Spec, attributes, send, traces, value
from tools.model.expected import SHIPPED, Seen, expected

CANARY = "CANARY Maria +55 11 91234-5678"
CLOSED = [*SHIPPED.label_attributes, "result", "http.request.method", "http.route", "db.system.name"]
INSTANCE = "0123abcd-0123-abcd-0123-0123456789ab"

WRONG: dict[str, Any] = {
    "unknown word": "maria",
    "text": CANARY,
    "upper case": "FAQ",
    "empty": "",
    "huge": "x" * 20_000,
    "bool": True,
    "int": 5511912345678,
    "float": float("nan"),
    "bytes": CANARY.encode(),
    "list": ["faq", CANARY],
    "map": {"faq": {CANARY: [CANARY]}},
}


DECISIVE = dict.fromkeys(["lane", "status", "component"], "other")
"""Attributes whose presence decides something, so that a wrong value is stored as `other`; those of others is not."""


def test_a_value_outside_of_its_closed_set_counts_as_other_and_is_not_stored(bench: Bench) -> None:
    specs = [Spec("lane.classify", {**dict.fromkeys(CLOSED, wrong), "message_id": wrong}) for wrong in WRONG.values()]
    others = dict.fromkeys(CLOSED, "other")
    assert bench.derive(traces(specs)) == expected([Seen("lane.classify", others)] * len(specs))
    for stored in bench.stored(*(spec.trace_id for spec in specs)):
        assert plain(stored) == {**DECISIVE, "family": "lane.classify"}


def test_what_the_service_itself_calls_other_is_stored(bench: Bench) -> None:
    spec = Spec("lane.classify", dict.fromkeys(CLOSED, "other"))
    assert bench.derive(traces([spec])) == expected([Seen("lane.classify", dict.fromkeys(CLOSED, "other"))])
    assert [plain(stored) for stored in bench.stored(spec.trace_id)] == [
        {**dict.fromkeys(CLOSED, "other"), "family": "lane.classify"}
    ]


def test_an_empty_value_is_as_good_as_none(bench: Bench) -> None:
    spec = Spec("process_message", dict.fromkeys([*CLOSED, "message_id", "http.response.status_code"]))
    assert bench.derive(traces([spec])) == {}
    [stored] = bench.stored(spec.trace_id)
    assert list(stored.attributes) == []


MESSAGE_IDS = {  # and whether it is kept
    "3EB0C767D26A1B2C3D4E": True,
    "3eb0c767-d26a-1b2c": True,
    "3A" * 32: True,
    "5511912345678": False,
    "3EB012345678": False,
    "3EB0C76": False,
    "3A" * 33: False,
    "maria.silva": False,
    "3EB0C767D26A1B2C3D4E\n": False,
    "3EB0C767D26A1B2C3D4E@s.whatsapp.net": False,
}


def test_a_message_id_is_kept_if_it_cannot_be_a_phone_number(bench: Bench) -> None:
    specs = [Spec("process_message", {"message_id": message_id}) for message_id in MESSAGE_IDS]
    assert bench.derive(traces(specs)) == {}
    stored = [plain(span).get("message_id") for span in bench.stored(*(spec.trace_id for spec in specs))]
    assert stored == [message_id if kept else None for message_id, kept in MESSAGE_IDS.items()]


KEPT = ["mem0.write", "process.v2", "process_message", "idempotency.check", "app.step.two", "hydration_started"]
KEPT += ["POST", "GET /health", "POST /webhooks/evolution/{event}", "SELECT", "BEGIN;", "MGET"]
BLANKED = ["Maria Silva", "maria silva", "João", "joão", "MARIA", "a@b.c", "/p/5511", "patient.5511", "v1.v2", "", " "]
BLANKED += ["POST /p/123", "POST /a?b=c", "GET /Maria", "SELECT Maria", "mem0.write\n", "x" * 65, "x" * 500_000]


def test_names_leave_only_in_the_shapes_of_the_contract(bench: Bench) -> None:
    specs = [Spec(name, scope="any.library") for name in [*KEPT, *BLANKED]]
    assert bench.derive(traces(specs)) == {}
    stored = [span.name for span in bench.stored(*(spec.trace_id for spec in specs))]
    assert stored == [*KEPT, *["other"] * len(BLANKED)]


def test_names_of_events_and_scopes_obey_the_same_rule(bench: Bench) -> None:
    names = ["hydration_started", "exception", "step2", "Maria Silva", "patient.5511", "x" * 65, ""]
    kept = [*names[:3], *["other"] * 4]
    specs = [Spec("process_message", scope=name) for name in names]
    request = traces(specs)
    for scope in request.resource_spans[0].scope_spans:
        for name in names:
            scope.spans[0].events.add(name=name)
    before = len(bench.store.requests)
    bench.derive(request)
    bench.stored(*(spec.trace_id for spec in specs))
    scopes = [
        scope
        for taken in bench.store.requests[before:]
        for resource in taken.resource_spans
        for scope in resource.scope_spans
        if scope.spans[0].name == "process_message"
    ]
    assert [scope.scope.name for scope in scopes] == kept
    for scope in scopes:
        assert [event.name for event in scope.spans[0].events] == kept


def test_planted_values_reach_neither_store_nor_exposition_nor_logs(bench: Bench) -> None:
    spec = Spec("lane.classify", {"lane": "faq"})
    request = traces([spec, planted(spec)], {**SERVICE, "service.version": "1.2.3", "service.instance.id": INSTANCE})
    plant_around(request.resource_spans[0])
    seen = Seen("lane.classify", {"lane": "other", "component": "other", "error.type": "other"})
    assert bench.derive(request) == expected([Seen("lane.classify", {"lane": "faq"}), seen])
    bench.stored(spec.trace_id)
    everywhere = [taken.SerializeToString() for taken in bench.store.requests]
    everywhere += [bench.collector.exposition().encode(), bench.collector.log().encode(), own_health(bench)]
    for place in everywhere:
        assert b"CANARY" not in place
        assert base64.b64encode(CANARY.encode())[:8] not in place


def planted(template: Spec) -> Spec:
    """A span of the same trace whose every allowed attribute holds the canary, and unknown ones too."""
    keys = [*CLOSED, "message_id", "http.response.status_code", "patient", CANARY, "family", "db.query.text"]
    return Spec("lane.classify", dict.fromkeys(keys, CANARY), trace_id=template.trace_id)


def plant_around(resource_spans: Any) -> None:
    """Put the canary into every other field that OTLP has for spans, except `entity_refs`, the known gaps."""
    resource_spans.schema_url = CANARY
    resource = resource_spans.resource
    for key in ["service.namespace", "host.name", "lane", "component", CANARY]:
        resource.attributes.add(key=key, value=value(CANARY))
    for key in ["service.name", "service.version", "service.instance.id"]:
        resource.attributes.add(key=key, value=value(CANARY))  # a second value of the same key
    [scope_spans] = resource_spans.scope_spans
    scope_spans.schema_url = CANARY
    scope_spans.scope.version = CANARY
    scope_spans.scope.attributes.extend(attributes({"lane": CANARY, CANARY: CANARY}))
    span = scope_spans.spans[0]
    span.attributes.add(key="lane", value=value(CANARY))
    span.trace_state = f"vendor={CANARY}"
    span.status.CopyFrom(Status(message=CANARY, code=Status.STATUS_CODE_ERROR))
    span.links.add(trace_id=b"l" * 16, span_id=b"l" * 8, trace_state=CANARY, attributes=attributes({"lane": CANARY}))
    event = span.events.add(name=CANARY, attributes=attributes({"exception.type": CANARY, "exception.message": CANARY}))
    event.attributes.add(key="exception.type", value=value(CANARY))
    span.MergeFromString(b"\xc2\x3e" + bytes([len(CANARY)]) + CANARY.encode())  # field 1000, which OTLP does not have


def own_health(bench: Bench) -> bytes:
    """The Collector's metrics about itself, as one text."""
    return " ".join(bench.collector.own_metrics()).encode()


def test_what_is_stored_of_a_hostile_export_is_its_skeleton(bench: Bench) -> None:
    spec = Spec("process_message")
    request = traces([spec], {**SERVICE, "service.version": CANARY, "service.instance.id": CANARY})
    skeleton = ResourceSpans.FromString(traces([spec]).resource_spans[0].SerializeToString())
    kept, sent = skeleton.scope_spans[0].spans[0], request.resource_spans[0].scope_spans[0].spans[0]
    kept.CopyFrom(Span(trace_id=sent.trace_id, span_id=sent.span_id, parent_span_id=b"p" * 8, name=sent.name))
    kept.start_time_unix_nano, kept.end_time_unix_nano = sent.start_time_unix_nano, sent.end_time_unix_nano
    kept.status.SetInParent()
    kept.attributes.extend(attributes({"lane": "other"}))
    kept.events.add(name="other")
    plant_around(request.resource_spans[0])
    sent.parent_span_id = b"p" * 8
    numbered = [
        request.resource_spans[0].resource,
        request.resource_spans[0].scope_spans[0].scope,
        sent,
        sent.events[0],
    ]
    for part in numbered:
        part.dropped_attributes_count = 1133334444
    sent.dropped_events_count = sent.dropped_links_count = 1133334444
    sent.flags, sent.kind, sent.status.code = 1133334444, 1133334444, 1133334444
    bench.derive(request)
    assert bench.stored_resource(spec.trace_id) == skeleton


@pytest.mark.parametrize(
    "wrong", [CANARY, "web-1", "1.2.3-maria", "5511912345678", "", 5, True, b"1.2", ["1.2"], {"a": "b"}]
)
def test_an_identity_of_another_shape_is_not_stored(bench: Bench, wrong: Any) -> None:
    spec = Spec("process_message")
    send(bench.collector.grpc, traces([spec], {**SERVICE, "service.version": wrong, "service.instance.id": wrong}))
    assert list(bench.stored_resource(spec.trace_id).resource.attributes) == attributes(SERVICE)


def test_the_identity_of_a_process_is_stored(bench: Bench) -> None:
    spec, identity = Spec("process_message"), {**SERVICE, "service.instance.id": INSTANCE, "service.version": "1.2.3"}
    send(bench.collector.grpc, traces([spec], identity))
    assert list(bench.stored_resource(spec.trace_id).resource.attributes) == attributes(identity)


def test_exception_types_are_kept_and_nothing_else_of_an_exception(bench: Bench) -> None:
    kept = ["asyncpg.exceptions.UniqueViolationError", "TimeoutError"]
    wrong = [CANARY, "E" * 101, "", 5511912345678, True, [CANARY], {CANARY: CANARY}, b"CANARY"]
    spec = Spec("process_message")
    request = traces([spec])
    span = request.resource_spans[0].scope_spans[0].spans[0]
    for content in [*kept, *wrong]:
        sent = {"exception.type": content, "exception.message": CANARY, "exception.stacktrace": CANARY}
        span.events.add(name="exception", attributes=attributes(sent))
    bench.derive(request)
    [stored] = bench.stored(spec.trace_id)
    types: list[dict[str, str]] = [{"exception.type": kind} for kind in kept]
    assert [attributes_of(event) for event in stored.events] == [*types, *[{}] * len(wrong)]


def attributes_of(event: Span.Event) -> dict[str, str]:
    """An event's attributes."""
    return {item.key: item.value.string_value for item in event.attributes}


def test_a_trace_state_does_not_multiply_counts(bench: Bench) -> None:
    spec = Spec("lane.classify", {"lane": "faq"})
    request = traces([spec])
    request.resource_spans[0].scope_spans[0].spans[0].trace_state = "ot=th:fffff"
    assert bench.derive(request) == expected([Seen("lane.classify", {"lane": "faq"})])


def test_no_sender_can_set_a_family(bench: Bench) -> None:
    forged = {"family": "mem0.write", "status": "success"}
    specs = [Spec("process_message", forged), Spec("SELECT", forged, scope=FASTAPI)]
    assert bench.derive(traces(specs), traces([Spec("process_message")], {**SERVICE, **forged})) == {}
    assert [plain(span) for span in bench.stored(specs[0].trace_id)] == [{"status": "success"}]


def test_resource_attributes_never_become_labels(bench: Bench) -> None:
    resource = {**SERVICE, "lane": "price", "component": "cache", "error.type": "timeout", "result": "duplicate"}
    spans = [Spec("lane.classify", {"lane": "faq"}), Spec("idempotency.check", {"result": "new"})]
    seen = [Seen("lane.classify", {"lane": "faq"}), Seen("idempotency.check", {"result": "new"})]
    assert bench.derive(traces(spans, resource)) == expected(seen)


def test_spans_of_an_unknown_service_are_dropped(bench: Bench) -> None:
    names = ["healthcare-backend2", "Maria", "", None, 5, ["healthcare-backend"], {"a": "b"}, b"healthcare-backend"]
    unknown = [Spec("lane.classify", {"lane": "faq"}) for _ in range(len(names) + 1)]
    resources: list[dict[str, Any]] = [{}, *({"service.name": name} for name in names)]
    known = Spec("process_message")
    requests = [traces([spec], resource) for spec, resource in zip(unknown, resources, strict=True)]
    assert bench.derive(*requests, traces([known])) == {}
    bench.stored(known.trace_id)
    assert bench.store.spans(*(spec.trace_id for spec in unknown)) == []


def test_every_closed_set_was_tried() -> None:
    ruled = {key for key, rule in SHIPPED.attributes.span.items() if rule.values}
    assert set(CLOSED) == set(SHIPPED.label_attributes) | ruled
