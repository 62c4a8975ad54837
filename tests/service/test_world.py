"""The world as it is: shapes that Evolution really sends, through the real endpoint, to reply and memory."""

import json
import time
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.service.test_webhook import token
from tests.support.backend import Backend, attributes, event, new_id, patient
from tools.base.wait import until

PRICE = "Qual o preço da consulta?"
NOTHING = {"messages": 0, "reply jobs": 0, "memories": 0, "replies": 0}
ONE = dict.fromkeys(NOTHING, 1)


def content(number: str, message: dict[str, Any] | None, message_id: str | None = None, **key: Any) -> dict[str, Any]:
    """An event with this content, of a sender with these fields of `key`."""
    body = event(number, message_id=message_id)
    body["data"]["key"] |= key
    return body | {"data": body["data"] | {"message": message, "messageType": next(iter(message or {}), "unknown")}}


def answered(backend: Backend, body: bytes | dict[str, Any], number: str, suffix: str = "") -> tuple[str, str]:
    """Status and lane, once the jobs of the number are done."""
    answer = backend.post(body, suffix)
    assert answer.status_code == 200
    until(lambda: backend.settled(number), "the jobs are done")
    return answer.json()["status"], answer.json()["lane"]


def memories(backend: Backend, number: str) -> list[str]:
    rows = backend.rows("select payload->>'data' from memories where payload->>'user_id' = %s order by 1", number)
    return [text for (text,) in rows]


def kept(backend: Backend) -> list[tuple[str, bytes]]:
    return [(reason, bytes(body)) for reason, body in backend.rows("select reason, body from kept order by id")]


def keep_spans(backend: Backend) -> list[str]:
    """The `status` of each `delivery.keep` so far."""
    assert backend.sink is not None
    return [attributes(span)["status"] for span in backend.sink.spans() if span.name == "delivery.keep"]


@pytest.fixture(autouse=True)
def nothing_kept(backend: Backend) -> None:
    if backend.rows("select to_regclass('kept') is not null") == [(True,)]:
        backend.rows("delete from kept")


@pytest.mark.parametrize(
    "message",
    [
        {"ephemeralMessage": {"message": {"extendedTextMessage": {"text": PRICE}}}},
        {"ephemeralMessage": {"message": {"viewOnceMessageV2": {"message": {"imageMessage": {"caption": PRICE}}}}}},
        {"templateButtonReplyMessage": {"selectedId": "1", "selectedDisplayText": PRICE, "selectedIndex": 0}},
        {"interactiveResponseMessage": {"nativeFlowResponseMessage": {"paramsJson": json.dumps({"title": PRICE})}}},
    ],
)
def test_words_are_stored_remembered_and_answered_however_they_are_wrapped(
    backend: Backend, message: dict[str, Any]
) -> None:
    number = patient()
    assert answered(backend, content(number, message), number) == ("success", "price")
    assert backend.stored(number) == ONE
    assert memories(backend, number) == [PRICE]


@pytest.mark.parametrize(
    "message",
    [{"stickerMessage": {}}, {"pollUpdateMessage": {"vote": {}}}, {"placeholderMessage": {"type": 0}}],
)
def test_something_without_words_is_stored_and_a_person_is_announced(backend: Backend, message: dict[str, Any]) -> None:
    number = patient()
    assert answered(backend, content(number, message), number) == ("success", "complex")
    assert backend.stored(number) == ONE | {"memories": 0}
    assert backend.replies(number)[0].startswith("Obrigado pela mensagem. Uma pessoa")


@pytest.mark.parametrize("message", [{"pinInChatMessage": {"type": 1}}, {"albumMessage": {}}, {"reactionMessage": {}}])
def test_a_kind_that_says_nothing_to_us_leaves_no_trace(backend: Backend, message: dict[str, Any]) -> None:
    number = patient()
    assert answered(backend, content(number, message), number) == ("ignored", "none")
    assert backend.stored(number) == NOTHING
    assert kept(backend) == []


@pytest.mark.parametrize("jid", ["900000000000001@bot", "13135550002@s.whatsapp.net", "12036300000001@newsletter"])
def test_nobody_is_not_answered(backend: Backend, jid: str) -> None:
    number = jid.partition("@")[0]
    assert answered(backend, content(number, {"conversation": PRICE}, remoteJid=jid), number) == ("ignored", "none")
    assert backend.stored(number) == NOTHING


@pytest.mark.parametrize("empty", [None, {}, {"messageContextInfo": {}}, {"conversation": ""}])
def test_an_empty_delivery_claims_nothing(backend: Backend, empty: dict[str, Any] | None) -> None:
    number, message_id = patient(), new_id()
    assert answered(backend, content(number, empty, message_id), number) == ("ignored", "none")
    assert answered(backend, event(number, PRICE, message_id), number) == ("success", "price")
    assert backend.stored(number) == ONE


@pytest.mark.parametrize("instance", ["Clinica Central", "Clínica/Sul #2 50%?"])
def test_the_reply_goes_to_the_instance_whatever_its_name(backend: Backend, instance: str) -> None:
    number = patient()
    assert answered(backend, event(number, PRICE) | {"instance": instance}, number) == ("success", "price")
    assert backend.replies(number, "instance") == [instance]


@pytest.mark.parametrize(
    "path",
    [
        "/webhooks/evolution/",
        "//webhooks/evolution",
        "/webhooks//evolution///messages-upsert//",
        "/webhooks/evolution/MESSAGES_UPSERT",
    ],
)
def test_slashes_too_many_are_taken(backend: Backend, path: str) -> None:
    number = patient()
    base = backend.url()
    answer = backend.http.post(base + path, json=event(number, PRICE), headers={"X-Webhook-Secret": backend.secret})
    assert (answer.status_code, answer.json()) == (200, {"status": "success", "lane": "price"})


def test_a_message_of_before_a_reconnect_is_stored_and_remembered_but_not_answered(backend: Backend) -> None:
    number = patient()
    for age, replies in ((6 * 3600 + 60, 0), (5 * 3600, 1)):
        body = event(number, PRICE)
        body["data"]["messageTimestamp"] = str(int(time.time()) - age)
        assert answered(backend, body, number) == ("success", "price")
        assert len(backend.replies(number)) == replies
    assert backend.stored(number) == {"messages": 2, "reply jobs": 1, "memories": 2, "replies": 1}


def test_evolutions_clock_may_be_a_minute_off(backend: Backend) -> None:
    for lifetime, code in ((-50, 200), (-70, 403)):  # its end is as far off as its beginning
        authorization = f"Bearer {token(lifetime=lifetime)}"
        answer = backend.post(event(patient()), X_Webhook_Secret="wrong", Authorization=authorization)
        assert answer.status_code == code
    ahead = token(issued_in=50)
    assert backend.post(event(patient()), X_Webhook_Secret="x", Authorization=f"Bearer {ahead}").status_code == 200


def hidden(number: str) -> str:
    return f"9{number[-6:]}00000001@lid"


def test_one_patient_stays_one_when_first_only_the_hidden_id_is_seen(backend: Backend) -> None:
    number = patient()
    lid = hidden(number)
    answered(backend, content(number, {"conversation": "Sou alérgica"}, remoteJid=lid), lid)
    assert backend.stored(lid) == ONE
    both = {"remoteJid": lid, "remoteJidAlt": f"{number}@s.whatsapp.net"}
    answered(backend, content(number, {"conversation": PRICE}, **both), number)
    answered(backend, content(number, {"conversation": "Obrigada"}, remoteJid=lid), number)
    assert backend.stored(lid) == NOTHING | {"replies": 1}
    assert backend.stored(number) == {"messages": 3, "reply jobs": 3, "memories": 3, "replies": 2}
    assert memories(backend, number) == ["Obrigada", PRICE, "Sou alérgica"]
    assert backend.rows("select patient, name from patients where patient in (%s, %s)", number, lid) == [
        (number, "Maria Teste")
    ]


@pytest.mark.parametrize("by", ["number", "hidden id"])
def test_erase_finds_a_patient_under_both_names(backend: Backend, by: str) -> None:
    number, other = patient(), patient()
    lid = hidden(number)
    both = {"remoteJid": lid, "senderPn": f"{number}@s.whatsapp.net"}
    answered(backend, content(number, {"conversation": PRICE}, **both), number)
    answered(backend, event(other), other)
    backend.post(content(number, {"aKindOfTomorrow": {"text": PRICE}}))
    backend.post(content(number, {"aKindOfTomorrow": {"text": PRICE}}, remoteJid=lid.replace("@", ":3@")))
    backend.post(content(other, {"aKindOfTomorrow": {"text": PRICE}}))
    assert backend.admin("erase", number if by == "number" else lid) == (
        "erased: 2 jobs, 1 messages, 1 memories, 1 patients, 1 hidden ids, 2 kept deliveries\n"
    )
    assert backend.stored(number) == NOTHING | {"replies": 1}
    assert backend.stored(other) == ONE
    assert [other.encode() in body for _, body in kept(backend)] == [True]


def test_erase_takes_a_number_as_people_write_it_and_refuses_what_is_none(backend: Backend) -> None:
    number = patient()
    answered(backend, event(number), number)
    written = f"+{number[:2]} ({number[2:4]}) {number[4:8]}-{number[8:]}"
    assert "1 messages" in backend.admin("erase", written)
    for text in ("", "maria", "12", "@lid"):
        assert "no phone number" in backend.admin("erase", text, fails=True)


@pytest.mark.parametrize(
    ("change", "reason", "code"),
    [
        ({"data": {"message": {"aKindOfTomorrow": {"text": PRICE}}}}, "kind", 200),
        ({"data": {"key": {"remoteJid": "5500900000001@interop", "id": "3EB0"}}}, "sender", 200),
        ({"event": "messages.tomorrow"}, "event", 200),
        ({"instance": None}, "shape", 422),
        ({"data": 5}, "shape", 422),
    ],
)
def test_what_is_not_understood_is_kept_as_it_came_counted_and_not_answered(
    backend: Backend, change: dict[str, Any], reason: str, code: int
) -> None:
    number = patient()
    body = event(number)
    if isinstance(change.get("data"), dict):
        change = {"data": body["data"] | change["data"]}
    sent = json.dumps(body | change).encode()
    before = len(keep_spans(backend))
    answer = backend.post(sent)
    assert answer.status_code == code
    assert kept(backend) == [(reason, sent)]
    backend.post(sent)
    assert kept(backend) == [(reason, sent)]  # the same once
    until(lambda: len(keep_spans(backend)) == before + 2, "the spans arrive")
    assert keep_spans(backend)[before:] == ["ignored" if code == 200 else "rejected"] * 2
    assert backend.stored(number) == NOTHING


@pytest.mark.parametrize("body", [b"{", b"", b"\x00\xff", b"event=messages.upsert"])
def test_what_is_no_json_is_kept_byte_by_byte(backend: Backend, body: bytes) -> None:
    assert backend.post(body).status_code == 422
    assert kept(backend) == [("json", body)]


def test_what_evolution_sends_to_a_wrong_address_is_refused_and_kept_a_strangers_is_not(backend: Backend) -> None:
    body = json.dumps(event(patient())).encode()
    for path in ("/webhooks/evolutoin", "/webhooks/evolution/a/b"):
        refused = backend.http.post(backend.url(path), content=body, headers={"X-Webhook-Secret": backend.secret})
        assert (refused.status_code, list(refused.json())) == (404, ["error"])
    assert kept(backend) == [("path", body)]
    assert backend.http.post(backend.url("/webhooks/evolutoin"), content=b"stranger").status_code == 404
    assert backend.http.post(backend.url("/webhooks/evolution"), content=b"stranger").status_code == 401
    assert backend.post(b"stranger", X_Webhook_Secret="wrong").status_code == 403
    assert kept(backend) == [("path", body)]


def test_a_refused_delivery_is_a_server_span_that_the_collector_counts_and_a_line_in_the_log(backend: Backend) -> None:
    def refused() -> list[Span]:
        assert backend.sink is not None
        return [span for span in backend.sink.spans() if span.name == "POST /webhooks/{path:path}"]

    before = len(refused())
    backend.http.post(backend.url("/webhooks/other/5500900000001"), content=b"Canary Silva")
    until(lambda: len(refused()) == before + 1, "the span arrives")
    found = attributes(refused()[-1])
    assert (found["http.route"], found["http.response.status_code"]) == ("/webhooks/{path:path}", 404)
    log = backend.stack.log("service").read_text("utf-8")
    assert "no webhook has this address" in log
    assert "Canary" not in log
    assert "5500900000001" not in log


def test_while_postgresql_is_away_nothing_is_refused_for_good(backend: Backend) -> None:
    backend.stack.stop("postgres")
    assert backend.post(b"{").status_code == 503
    assert backend.post(event(patient()) | {"event": "messages.tomorrow"}).status_code == 503


def test_kept_deliveries_are_shown_and_run_again_after_a_mend(backend: Backend) -> None:
    number, late = patient(), patient()
    backend.post(b"{")
    backend.post(event(number) | {"event": "messages.tomorrow"})
    shown = backend.admin("dead").splitlines()
    assert shown[0] == "dead jobs: none"
    assert shown[1].startswith("kept deliveries: 1 event, 1 json, the oldest since 20")
    understood = [event(number, PRICE), event(late, PRICE), event(number) | {"event": "messages.update"}]
    understood[1]["data"]["messageTimestamp"] = int(time.time()) - 7 * 3600
    for index, body in enumerate(understood):  # as if an earlier version had not understood them
        backend.rows(
            "insert into kept (digest, reason, body) values (%s, 'kind', %s)",
            bytes([index]),
            json.dumps(body).encode(),
        )
    assert backend.admin("replay").splitlines()[1] == ("kept deliveries: 2 handled, 1 nothing for us, 2 not understood")
    for one, replies in ((number, 1), (late, 0)):
        until(lambda one=one: backend.settled(one), "the jobs are done")  # type: ignore[misc]
        assert backend.stored(one) == ONE | {"reply jobs": replies, "replies": replies}
    assert sorted(reason for reason, _ in kept(backend)) == ["event", "json"]
    assert backend.admin("replay").splitlines()[1] == ("kept deliveries: 0 handled, 0 nothing for us, 2 not understood")


def test_kept_deliveries_are_bounded_in_number_size_and_age(backend: Backend) -> None:
    """By the folder's settings: 5 of them, 100 kB together, 30 days."""
    for number in range(7):
        backend.post(b"{%d" % number)
    assert [body for _, body in kept(backend)] == [b"{%d" % number for number in range(2, 7)]
    backend.post(b"{" + b"x" * 99_990)
    assert [len(body) for _, body in kept(backend)] == [2, 2, 2, 2, 99_991]
    backend.post(b"{last")
    assert [len(body) for _, body in kept(backend)] == [2, 2, 99_991, 5]
    backend.rows("update kept set kept_at = now() - interval '31 days' where octet_length(body) > 5")
    backend.post(b"{newest")
    assert [body for _, body in kept(backend)] == [b"{last", b"{newest"]
