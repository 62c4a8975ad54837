"""Evolution's events: what is answered, what is ignored, what is refused."""

import json
from typing import Any

import pytest

from app.conversation.lanes import classify
from app.conversation.message import InvalidEvent, Message, parse


def event(**data: Any) -> bytes:
    key = {"remoteJid": "5500900000001@s.whatsapp.net", "fromMe": False, "id": "3EB0A1"} | data.pop("key", {})
    body = {"event": data.pop("event", "messages.upsert"), "instance": "clinic", "apikey": "secret"}
    return json.dumps(body | {"data": {"key": key, "pushName": "Maria", "messageType": "conversation"} | data}).encode()


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"conversation": "Olá"}, "Olá"),
        ({"extendedTextMessage": {"text": "Olá"}}, "Olá"),
        ({"imageMessage": {"caption": "Meu exame"}, "base64": "AAAA"}, "Meu exame"),
        ({"videoMessage": {"caption": "Veja"}}, "Veja"),
        ({"documentMessage": {"caption": "Laudo"}}, "Laudo"),
        ({"documentWithCaptionMessage": {"message": {"documentMessage": {"caption": "Laudo"}}}}, "Laudo"),
        ({"audioMessage": {"seconds": 3}, "speechToText": "Bom dia"}, "Bom dia"),
        ({"audioMessage": {"seconds": 3}, "base64": "AAAA"}, ""),
        ({"conversation": 5}, ""),
        ({"conversation": "a\x00b"}, "ab"),
    ],
)
def test_a_patients_message_is_read_with_its_text(message: dict[str, Any], text: str) -> None:
    assert parse(event(message=message)) == Message("clinic", "3EB0A1", "5500900000001", "Maria", text)


@pytest.mark.parametrize(
    ("key", "patient"),
    [
        ({"remoteJid": "5500900000001:12@s.whatsapp.net"}, "5500900000001"),
        ({"remoteJid": "123456@lid"}, "123456@lid"),
        ({"remoteJid": "123456@lid", "remoteJidAlt": "5500900000001@s.whatsapp.net"}, "5500900000001"),
    ],
)
def test_the_answer_goes_to_the_sender_also_behind_a_hidden_id(key: dict[str, str], patient: str) -> None:
    message = parse(event(key=key, message={"conversation": "Olá"}))
    assert message is not None
    assert message.patient == patient


@pytest.mark.parametrize(
    "body",
    [
        event(key={"fromMe": True}, message={"conversation": "from the clinic"}),
        event(key={"remoteJid": "1203630@g.us"}, message={"conversation": "in a group"}),
        event(key={"remoteJid": "status@broadcast"}, message={"conversation": "a status"}),
        event(messageType="reactionMessage", message={"reactionMessage": {"text": "👍"}}),
        event(messageType="editedMessage", message={"editedMessage": {}}),
        event(message={"protocolMessage": {}}),
        event(event="connection.update"),
        event(event="a.new.event"),
        b'{"event": "qrcode.updated", "instance": "clinic"}',
    ],
)
def test_what_is_no_patients_message_is_ignored(body: bytes) -> None:
    assert parse(body) is None


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        (b"", [{"loc": "body", "type": "json_invalid"}]),
        (b"[1", [{"loc": "body", "type": "json_invalid"}]),
        (b"\xff\xfe", [{"loc": "body", "type": "json_invalid"}]),
        (b"[" * 100_000, [{"loc": "body", "type": "json_invalid"}]),
        (b"5", [{"loc": "body", "type": "model_type"}]),
        (b'{"event": "messages.upsert", "instance": "clinic"}', [{"loc": "data", "type": "missing"}]),
        (event(key={"id": 5, "remoteJid": ""}), [
            {"loc": "data.key.id", "type": "string_type"},
            {"loc": "data.key.remoteJid", "type": "string_pattern_mismatch"},
        ]),
        (event(message={"conversation": "x" * 65_537}), [{"loc": "data.message", "type": "string_too_long"}]),
    ],
)  # fmt: skip
def test_what_is_no_event_is_refused_with_places_and_kinds_only(body: bytes, errors: list[dict[str, str]]) -> None:
    with pytest.raises(InvalidEvent) as refused:
        parse(body)
    assert refused.value.errors == errors


def test_an_error_repeats_no_key_of_the_body() -> None:
    with pytest.raises(InvalidEvent) as refused:
        parse(event(message={"conversation": "x"}, key={"id": {"Maria Silva": 1}}))
    assert "Maria" not in str(refused.value.errors)


@pytest.mark.parametrize(
    ("text", "lane", "topic", "language"),
    [
        ("Qual o horário de vocês?", "faq", "hours", "pt"),
        ("Do you take my insurance?", "faq", "insurance", "en"),
        ("¿Dónde está la clínica?", "faq", "address", "es"),
        ("Quanto custa uma consulta?", "price", "consultation", "pt"),
        ("¿Cuánto cuesta?", "price", "consultation", "es"),
        ("QUERO AGENDAR", "scheduling", "slots", "pt"),
        ("I need an appointment", "scheduling", "slots", "en"),
        ("Quero marcar, estou com dor no peito", "complex", "symptoms", "pt"),
        ("", "complex", "", "pt"),
        ("xyz", "complex", "", "pt"),
    ],
)
def test_a_text_goes_to_its_lane(text: str, lane: str, topic: str, language: str) -> None:
    found = classify(text)
    assert (found.name, found.topic, found.language) == (lane, topic, language)
