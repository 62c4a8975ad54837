"""One message: what is answered, stored, sent, remembered, and told to telemetry."""

import select
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.backend import Backend, attributes, event, new_id, patient, tree
from tools.base.otlp import OWN
from tools.base.wait import until
from tools.model.expected import SHIPPED
from tools.replay.workload import Workload

JWT_KEY = "a-key-of-32-bytes-for-evolution!"


def token(key: str = JWT_KEY, app: str = "evolution", lifetime: int = 600, issued_in: int = 0) -> str:
    now = int(time.time()) + issued_in
    return jwt.encode({"iat": now, "exp": now + lifetime, "app": app, "action": "webhook"}, key, "HS256")


@pytest.mark.parametrize(
    ("text", "lane", "reply"),
    [
        ("Qual o horário de funcionamento?", "faq", "Atendemos de segunda a sexta, das 8h às 18h."),
        ("¿Cuánto cuesta la consulta?", "price", "La consulta cuesta R$ 250."),
        ("I feel strange since yesterday", "complex", "Obrigado pela mensagem. Uma pessoa"),
        ("Quero agendar", "scheduling", "Temos estes horários livres: "),
    ],
)
def test_a_message_is_answered_in_its_lane_stored_and_remembered(
    backend: Backend, text: str, lane: str, reply: str
) -> None:
    number = patient()
    answer = backend.post(event(number, text), "/messages-upsert")
    assert (answer.status_code, answer.json()) == (200, {"status": "success", "lane": lane})
    until(lambda: backend.settled(number), "the jobs are done")
    assert backend.stored(number) == {"messages": 1, "reply jobs": 1, "memories": 1, "replies": 1}
    assert backend.replies(number)[0].startswith(reply)
    assert backend.rows("select payload->>'data' from memories where payload->>'user_id' = %s", number) == [(text,)]
    assert backend.rows("select distinct payload::text from jobs where patient = %s", number) == [("{}",)]


def test_free_slots_are_offered_on_the_clinics_clock(backend: Backend) -> None:
    backend.rows("delete from slots")
    backend.rows("insert into slots (starts_at) values ('2031-01-06 12:00Z'), ('2031-07-01 02:30Z'), ('2000-01-01Z')")
    number = patient()
    backend.post(event(number, "Quero agendar"))
    until(lambda: backend.settled(number), "the jobs are done")
    assert backend.replies(number) == ["Temos estes horários livres: 06/01 09:00, 30/06 23:30. Qual prefere?"]


def test_invented_slots_are_in_the_clinics_hours(backend: Backend) -> None:
    backend.rows("delete from slots")
    backend.stack.stop("service")
    backend.stack.start("service")
    hours = "select distinct extract(hour from starts_at at time zone 'America/Sao_Paulo')::int from slots order by 1"
    until(lambda: backend.rows(hours) == [(9,), (11,), (14,), (16,)], "the catalogue is filled")
    assert backend.rows("select count(*) from slots") == [(120,)]


def test_a_message_is_one_trace_from_the_webhook_to_reply_and_memory(backend: Backend) -> None:
    backend.post(event(patient()))  # now the catalogue is cached, the next patient's context is not
    message_id = new_id()
    backend.post(event(patient(), "Quero agendar", message_id))
    spans = backend.trace(message_id, "reply.send", "mem0.write")
    webhook = "POST /webhooks/evolution"
    process = f"{webhook} > message.process"
    hydrate = f"{process} > context.hydrate"
    assert tree(spans) == {
        webhook: 1,
        process: 1,
        f"{process} > COMMIT;": 1,
        f"{process} > idempotency.check": 1,
        f"{process} > idempotency.check > GET": 1,
        f"{process} > idempotency.check > db.acquire": 1,
        f"{process} > idempotency.check > BEGIN;": 1,
        f"{process} > idempotency.check > insert": 1,
        hydrate: 1,
        f"{hydrate} > cache.get": 2,
        f"{hydrate} > cache.get > GET": 2,
        f"{hydrate} > cache.set": 1,
        f"{hydrate} > cache.set > SET": 1,
        f"{hydrate} > hydration.query": 3,
        f"{hydrate} > hydration.query > insert": 1,
        f"{hydrate} > hydration.query > select": 2,
        f"{process} > lane.classify": 1,
        f"{process} > hydration.query": 1,
        f"{process} > hydration.query > select": 1,
        f"{process} > select": 1,
        f"{process} > insert": 1,
        f"{process} > idempotency.mark": 1,
        f"{process} > idempotency.mark > SET": 1,
        f"{process} > reply.send": 1,
        f"{process} > mem0.write": 1,
    }


def test_strangers_do_not_choose_our_trace_ids(backend: Backend) -> None:
    message_id = new_id()
    theirs = "11111111111111111111111111111111"
    backend.post(event(patient(), message_id=message_id), traceparent=f"00-{theirs}-2222222222222222-01", baggage="a=b")
    (server,) = [span for span in backend.trace(message_id) if span.kind == Span.SPAN_KIND_SERVER]
    assert server.trace_id.hex() != theirs
    assert server.parent_span_id == b""


@pytest.mark.parametrize("secret", ["", "wrong", "wröng"])
def test_who_does_not_know_the_secret_is_refused(backend: Backend, secret: str) -> None:
    answer = backend.post(event(patient()), X_Webhook_Secret=secret.encode())  # type: ignore[arg-type]
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"key": "another-key-of-32-bytes-for-nobody"}, 403),
        ({"app": "somebody"}, 403),
        ({"lifetime": -120}, 403),
        (None, 403),
        ({}, 200),
    ],
)
def test_only_evolutions_token_gets_in(backend: Backend, claims: dict[str, Any] | None, code: int) -> None:
    sent = "eyJhbGciOiJub25lIn0.e30." if claims is None else token(**claims)  # now: it lives for ten minutes
    answer = backend.post(event(patient()), X_Webhook_Secret="wrong", Authorization=f"Bearer {sent}")
    assert answer.status_code == code


@pytest.mark.parametrize("body", [b"no json", b"x" * 30_000_000, b""])
def test_without_credentials_nothing_is_read(backend: Backend, body: bytes) -> None:
    answer = backend.http.post(backend.url("/webhooks/evolution"), content=body)
    assert answer.status_code == 401
    assert list(answer.json()) == ["error"]


def test_a_body_over_the_limit_is_413_also_when_it_does_not_say_its_length(backend: Backend) -> None:
    headers = {"X-Webhook-Secret": backend.secret}
    large = b"x" * 8_000_001
    declared = backend.http.post(backend.url("/webhooks/evolution"), content=large, headers=headers)
    chunked = backend.http.post(
        backend.url("/webhooks/evolution"),
        content=(large[i : i + 65_536] for i in range(0, len(large), 65_536)),
        headers=headers,
    )
    assert (declared.status_code, chunked.status_code) == (413, 413)
    assert declared.json() == {"error": "the body is larger than 8000000 bytes"}


def test_an_idle_connection_is_left_for_the_client_to_close(backend: Backend) -> None:
    """Else the service closes it while the next request is on its way; many clients keep one for 5 s."""
    address = urlsplit(backend.url())
    with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        until(lambda: b"}" in connection.recv(65536), "it is answered")
        assert select.select([connection], [], [], 6)[0] == []


def test_a_body_of_megabytes_within_the_limit_is_answered(backend: Backend) -> None:
    body = event(patient())
    body["data"]["message"] = {"imageMessage": {"caption": "Quanto custa?"}, "base64": "A" * 6_000_000}
    assert backend.post(body).json() == {"status": "success", "lane": "price"}


def test_422_says_where_and_repeats_nothing(backend: Backend) -> None:
    body = event("maria")
    body["data"]["key"] = {"id": {"Maria Silva": "+5511999990000"}, "remoteJid": "x"}
    answer = backend.post(body)
    assert answer.status_code == 422
    assert answer.json() == {
        "error": "the body is no event of Evolution API",
        "details": [{"loc": "data.key.id", "type": "value_error"}],
    }


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/webhooks/evolution", 405),
        ("POST", "/webhooks/evolution/a/b", 404),
        ("POST", "/wp-admin.php", 404),
    ],
)
def test_what_is_no_webhook_is_answered_as_json_without_redirects(
    backend: Backend, method: str, path: str, code: int
) -> None:
    answer = backend.http.request(method, backend.url(path), headers={"X-Webhook-Secret": backend.secret})
    assert answer.status_code == code
    assert list(answer.json()) == ["error"]


@pytest.mark.parametrize("change", ["own", "group", "reaction", "unknown"])
def test_what_is_no_patients_message_is_acknowledged_and_not_stored(backend: Backend, change: str) -> None:
    number = patient()
    body = event(number)
    if change == "own":
        body["data"]["key"]["fromMe"] = True
    elif change == "group":
        body["data"]["key"]["remoteJid"] = "120363@g.us"
    elif change == "reaction":
        body["data"] |= {"messageType": "reactionMessage", "message": {"reactionMessage": {"text": "👍"}}}
    else:
        body["event"] = "brand.new"
    answer = backend.post(body)
    assert (answer.status_code, answer.json()) == (200, {"status": "ignored", "lane": "none"})
    assert backend.stored(number) == {"messages": 0, "reply jobs": 0, "memories": 0, "replies": 0}


def test_a_loop_between_bots_ends_at_the_cap(backend: Backend) -> None:
    number = patient()
    for _ in range(25):
        assert backend.post(event(number)).status_code == 200
    until(lambda: backend.settled(number), "the jobs are done")
    assert backend.stored(number) == {"messages": 25, "reply jobs": 20, "memories": 25, "replies": 20}


def test_a_patients_name_and_memories_are_in_the_context_of_the_next_message(backend: Backend) -> None:
    number = patient()
    backend.post(event(number, "Sou alérgica a dipirona"))
    until(lambda: backend.settled(number), "the memory is written")
    found = backend.rows(
        "select payload->>'data', payload->>'user_id', payload->>'job_id' is not null from memories"
        " where payload->>'user_id' = %s",
        number,
    )
    assert found == [("Sou alérgica a dipirona", number, True)]
    assert backend.rows("select name from patients where patient = %s", number) == [("Maria Teste",)]


LABELS: dict[str, set[str]] = {
    "idempotency.check": {"result"},
    "cache.get": {"operation", "cache_type", "result"},
    "cache.set": {"operation", "cache_type"},
    "context.hydrate": set(),
    "hydration.query": {"query_type"},
    "lane.classify": {"lane"},
    "mem0.write": {"status"},
}
ERROR = {"component", "error.type"}


def test_every_span_that_feeds_a_metric_carries_all_its_labels(backend: Backend) -> None:
    message_id = new_id()
    backend.post(event(patient(), "Quero agendar", message_id))
    backend.trace(message_id, "mem0.write")
    assert backend.sink is not None
    seen: dict[str, set[frozenset[str]]] = {}
    for span in backend.sink.spans():
        if span.name in LABELS:
            seen.setdefault(span.name, set()).add(frozenset(set(attributes(span)) - ERROR))
    assert seen == {name: {frozenset(labels)} for name, labels in LABELS.items()}


def test_every_own_span_is_in_the_workload_that_plans_replay(backend: Backend) -> None:
    message_id = new_id()
    backend.post(event(patient(), "Quero agendar", message_id))
    backend.trace(message_id, "reply.send", "mem0.write")
    assert backend.sink is not None
    named = {
        span.name
        for request in backend.sink.requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        if scope.scope.name == OWN
        for span in scope.spans
    }
    replayed = {sent.spec.name for sent in Workload((SHIPPED,)).sent if sent.spec.scope == OWN}
    assert named - {"queries"} - replayed == set()  # that one is of test_queries.py, which shares the sink


def test_a_failed_answer_of_the_service_is_an_error_span_without_words(backend: Backend) -> None:
    backend.stack.stop("postgres")
    message_id = new_id()
    answer = backend.post(event(patient(), message_id=message_id))
    assert answer.status_code == 503
    spans = {span.name: span for span in backend.trace(message_id)}
    assert attributes(spans["message.process"]) == {
        "message_id": message_id,
        "component": "database",
        "error.type": "connection",
    }
    assert spans["message.process"].status == Status(code=Status.STATUS_CODE_ERROR)
    server = attributes(spans["POST /webhooks/evolution"])
    assert {key: server[key] for key in ("endpoint", "lane", "status")} == {
        "endpoint": "/webhooks/evolution",
        "lane": "none",
        "status": "error",
    }
    carriers = [name for name, span in spans.items() if "component" in attributes(span)]
    assert carriers == ["message.process"]


def test_nothing_of_a_patient_is_in_the_telemetry_or_the_logs(backend: Backend) -> None:
    number = patient()
    text = "Canary Silva, CPF 123.456.789-09"
    body: dict[str, Any] = event(number, text)
    body["data"]["pushName"] = "Canary Silva"
    backend.fault(embeddings={"status": 500})
    answers = [
        backend.post(body),
        backend.post(body, f"/{number}"),
        backend.http.post(
            backend.url(f"/webhooks/evolution?phone={number}"), content=b"{", headers={"X-Webhook-Secret": "Canary"}
        ),
    ]
    backend.post({"event": number, "instance": number, number: text})
    until(
        lambda: backend.rows("select max(attempts) from jobs where patient = %s and kind = 'memory'", number)[0][0] > 1,
        "the memory failed twice",
    )
    backend.fault(embeddings=None)
    until(lambda: backend.settled(number), "the jobs are done")
    assert backend.sink is not None
    left = b"".join(request.SerializeToString() for request in backend.sink.requests)
    logs = backend.stack.log("service").read_bytes() + backend.stack.log("worker").read_bytes()
    errors = b"".join(answer.content for answer in answers)
    for secret in (number, "Canary", "Silva", "123.456.789-09", "an-instance-secret", backend.secret):
        for place, content in {"spans": left, "logs": logs, "answers": errors}.items():
            assert secret.encode() not in content, (secret, place)
