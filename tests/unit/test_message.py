"""Evolution's events: what is answered, what is ignored, what is refused."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.conversation.lanes import classify
from app.conversation.message import Message, NotUnderstoodError, parse


def event(**data: Any) -> bytes:
    key = {"remoteJid": "5500900000001@s.whatsapp.net", "fromMe": False, "id": "3EB0A1"} | data.pop("key", {})
    body = {"event": "messages.upsert", "instance": "clinic", "apikey": "secret"}
    body |= {name: data.pop(name) for name in ("event", "instance") if name in data}
    return json.dumps(body | {"data": {"key": key, "pushName": "Maria", "messageType": "conversation"} | data}).encode()


def read(body: bytes) -> Message:
    message = parse(body)
    assert message is not None
    return message


def refused(body: bytes) -> NotUnderstoodError:
    with pytest.raises(NotUnderstoodError) as error:
        parse(body)
    return error.value


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"conversation": "Olá"}, "Olá"),
        ({"extendedTextMessage": {"text": "Olá"}}, "Olá"),
        ({"imageMessage": {"caption": "Meu exame"}, "base64": "AAAA"}, "Meu exame"),
        ({"documentWithCaptionMessage": {"message": {"documentMessage": {"caption": "Laudo"}}}}, "Laudo"),
        ({"audioMessage": {"seconds": 3}, "speechToText": "Bom dia"}, "Bom dia"),
        ({"audioMessage": {"seconds": 3}, "base64": "AAAA"}, ""),
        ({"conversation": 5}, "5"),
        ({"conversation": "a\x00b"}, "ab"),
    ],
)
def test_a_patients_message_is_read_with_its_text(message: dict[str, Any], text: str) -> None:
    assert parse(event(message=message)) == Message("clinic", "3EB0A1", "5500900000001", "Maria", text)


NUMBER, LID = "5500900000001", "103000000000000@lid"
PN = f"{NUMBER}@s.whatsapp.net"


@pytest.mark.parametrize(
    ("key", "patient", "lid"),
    [
        ({"remoteJid": PN}, NUMBER, ""),
        ({"remoteJid": f"{NUMBER}:12@s.whatsapp.net"}, NUMBER, ""),
        ({"remoteJid": f"{NUMBER}_1:12@s.whatsapp.net"}, NUMBER, ""),
        ({"remoteJid": f"{NUMBER}.0:12@s.whatsapp.net"}, NUMBER, ""),
        ({"remoteJid": f"{NUMBER}@c.us"}, NUMBER, ""),
        ({"remoteJid": f"{NUMBER}:99@hosted"}, NUMBER, ""),
        ({"remoteJid": NUMBER}, NUMBER, ""),  # Evolution's own channel passes on what it is given
        ({"remoteJid": "+55 (00) 90000-0001"}, NUMBER, ""),
        ({"remoteJid": LID}, LID, LID),
        ({"remoteJid": "103000000000000:7@lid"}, LID, LID),
        ({"remoteJid": "103000000000000:99@hosted.lid"}, LID, LID),
        ({"remoteJid": LID, "senderPn": PN}, NUMBER, LID),  # 2.3.0
        ({"remoteJid": LID, "senderPn": f"{NUMBER}:3@s.whatsapp.net"}, NUMBER, LID),
        ({"remoteJid": PN, "previousRemoteJid": LID, "senderPn": PN}, NUMBER, LID),  # 2.3.2
        ({"remoteJid": LID, "remoteJidAlt": PN, "addressingMode": "lid"}, NUMBER, LID),  # 2.3.6
        ({"remoteJid": PN, "remoteJidAlt": LID, "addressingMode": "pn"}, NUMBER, LID),
        ({"remoteJid": PN, "senderLid": LID}, NUMBER, LID),
        ({"remoteJid": None, "remoteJidAlt": PN}, NUMBER, ""),
        ({"remoteJid": "", "senderPn": PN}, NUMBER, ""),
    ],
)
def test_a_patient_has_one_name_wherever_a_version_puts_the_number(key: dict[str, Any], patient: str, lid: str) -> None:
    message = read(event(key=key, message={"conversation": "Olá"}))
    assert (message.patient, message.lid) == (patient, lid)


@pytest.mark.parametrize(
    "jid",
    [
        "1203630@g.us",
        "5500900000001-1600000000@g.us",
        "5500900000001-1600000000",
        "status@broadcast",
        "1600000000@broadcast",
        "120363000000000001@newsletter",
        "900000000000001@bot",
        "13135550002@s.whatsapp.net",
        "13165550007@c.us",
        "16505361212@c.us",
        "0@s.whatsapp.net",
        "status_me@call",
    ],
)
def test_groups_broadcasts_newsletters_and_bots_are_nobody_to_answer(jid: str) -> None:
    assert parse(event(key={"remoteJid": jid}, message={"conversation": "Quanto custa?"})) is None


@pytest.mark.parametrize(
    "timestamp",
    [
        1767225600,
        1767225600.0,
        "1767225600",
        1767225600000,
        "1767225600000",
        1767225600000000,
        {"low": 1767225600, "high": 0, "unsigned": True},
        {"low": 1994041344, "high": 411, "unsigned": False},  # milliseconds
        "2026-01-01T00:00:00.000Z",
        "2025-12-31T21:00:00-03:00",
        "2026-01-01 00:00:00",
    ],
)
def test_the_time_is_read_in_each_shape(timestamp: object) -> None:
    message = read(event(message={"conversation": "Olá"}, messageTimestamp=timestamp))
    assert message.sent_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert message.is_older_than(timedelta(hours=6))


@pytest.mark.parametrize("timestamp", [None, 0, -5, True, "", "soon", {}, {"low": None}, [], 10**400, "1e999", "nan"])
def test_a_message_without_a_time_that_can_be_is_not_taken_for_an_old_one(timestamp: object) -> None:
    message = read(event(message={"conversation": "Olá"}, messageTimestamp=timestamp))
    assert message.sent_at is None
    assert not message.is_older_than(timedelta(hours=6))


@pytest.mark.parametrize("instance", ["Clinica Central", "Clínica/Sul?#%", "..", "診所", "x" * 512])
def test_an_instance_may_have_any_name(instance: str) -> None:
    assert read(event(instance=instance, message={"conversation": "Olá"})).instance == instance


@pytest.mark.parametrize("name", ["MESSAGES_UPSERT", "messages-upsert", "Messages.Upsert", "messagesUpsert"])
def test_the_event_may_be_spelt_in_any_way(name: str) -> None:
    assert read(event(event=name, message={"conversation": "Olá"})).text == "Olá"


@pytest.mark.parametrize("name", [None, 5, {"a": 1}, "", "x" * 500])
def test_a_name_is_what_it_is_or_nothing(name: object) -> None:
    assert read(event(pushName=name, message={"conversation": "Olá"})).name == (name[:200] if name == "x" * 500 else "")


PLAIN = event(message={"conversation": "Qual o preço?"})


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"\xef\xbb\xbf" + PLAIN, "Maria"),
        (PLAIN.decode().encode("utf-16"), "Maria"),
        (PLAIN.decode().encode("utf-16-le"), "Maria"),
        (PLAIN.replace(b"Maria", rb"Ana \ud83d"), "Ana \ufffd"),
        (PLAIN.replace(b"Maria", rb"\ude00 Ana"), "\ufffd Ana"),
        (PLAIN.replace(b"Maria", rb"Ana \ud83d\ude00"), "Ana \U0001f600"),
        (PLAIN.replace(b"Maria", b"Ana \xed\xa0\xbd"), "Ana \ufffd\ufffd\ufffd"),
        (PLAIN.replace(b"Maria", b"Jos\xe9"), "Jos\ufffd"),  # Latin-1
        (PLAIN.replace(b"Maria", b"Ana\tLima"), "Ana\tLima"),
        (b" \r\n" + PLAIN + b"\n", "Maria"),
    ],
)
def test_json_that_strict_readers_refuse_is_mended(body: bytes, name: str) -> None:
    message = read(body)
    assert (message.text, message.name) == ("Qual o preço?", name)


def test_half_an_emoji_at_any_depth_is_mended() -> None:
    body = PLAIN.replace(b'"Maria"', rb'"Maria", "extra": [{"\ud83d": ["\ud83d"]}]')
    assert read(body).text == "Qual o preço?"


def test_a_list_of_one_is_that_one() -> None:
    body = json.loads(PLAIN)
    assert read(json.dumps(body | {"data": [body["data"]]}).encode()).text == "Qual o preço?"


@pytest.mark.parametrize(
    "body",
    [
        event(key={"fromMe": True}, message={"conversation": "from the clinic"}),
        event(message={"reactionMessage": {"text": "👍"}}, messageType="reactionMessage"),
        event(message={"editedMessage": {"message": {"protocolMessage": {"type": 14}}}}, messageType="editedMessage"),
        event(message={"protocolMessage": {}}),
        event(message={"pinInChatMessage": {"type": 1}, "messageContextInfo": {}}),
        event(message={}),
        event(message=None),
        event(event="connection.update"),
        event(event="MESSAGES_EDITED"),
        b'{"event": "qrcode.updated"}',
    ],
)
def test_what_is_no_patients_message_is_ignored(body: bytes) -> None:
    assert parse(body) is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (event(event="a.new.event"), "event"),
        (event(message={"aKindOfTomorrow": {}}), "kind"),
        (event(key={"remoteJid": "5500900000001@interop"}, message={"conversation": "Olá"}), "sender"),
    ],
)
def test_what_nobody_knows_yet_is_told_apart_from_what_is_wrong(body: bytes, reason: str) -> None:
    error = refused(body)
    assert (error.reason, error.is_new) == (reason, True)


@pytest.mark.parametrize(
    ("body", "reason", "errors"),
    [
        (b"", "json", [{"loc": "body", "type": "json_invalid"}]),
        (b"[1", "json", [{"loc": "body", "type": "json_invalid"}]),
        (b"\xff\xfe", "json", [{"loc": "body", "type": "json_invalid"}]),
        (b"[" * 100_000, "json", [{"loc": "body", "type": "json_invalid"}]),
        (b"5", "shape", [{"loc": "body", "type": "model_type"}]),
        (b'{"event": "messages.upsert", "instance": "clinic"}', "shape", [{"loc": "data", "type": "missing"}]),
        (event(key={"id": ["5"]}), "shape", [{"loc": "data.key.id", "type": "value_error"}]),
        (event(key={"id": "a\nb"}), "shape", [{"loc": "data.key.id", "type": "value_error"}]),
        (event(instance=" "), "shape", [{"loc": "instance", "type": "value_error"}]),
        (event(key={"remoteJid": ""}), "shape", [{"loc": "data.key.remoteJid", "type": "missing"}]),
        (event(key={"remoteJid": "@lid"}), "shape", [{"loc": "data.key.remoteJid", "type": "missing"}]),
        (event(message="Olá"), "shape", [{"loc": "data.message", "type": "dict_type"}]),
        (event(message={"conversation": "x" * 65_537}), "shape", [{"loc": "data.message", "type": "string_too_long"}]),
    ],
)  # fmt: skip
def test_what_is_no_event_is_refused_with_places_and_kinds_only(
    body: bytes, reason: str, errors: list[dict[str, str]]
) -> None:
    error = refused(body)
    assert (error.reason, error.is_new, error.errors) == (reason, False, errors)


def test_an_error_repeats_no_key_of_the_body() -> None:
    assert "Maria" not in str(refused(event(message={"conversation": "x"}, key={"id": {"Maria Silva": 1}})).errors)


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
        ("Quanto  custa", "price", "consultation", "pt"),
        ("quanto\u00a0custa", "price", "consultation", "pt"),
        ("quanto\n\t custa", "price", "consultation", "pt"),
        ("quanto\u2003custa", "price", "consultation", "pt"),
        ("quanto\u3000custa", "price", "consultation", "pt"),
        ("quanto\u2028custa", "price", "consultation", "pt"),
        ("quanto\u200bcusta", "price", "consultation", "pt"),
        ("pre\u200bço", "price", "consultation", "pt"),
        ("pre\u2060ço \u202aquanto\u202c", "price", "consultation", "pt"),
        ("*preço*", "price", "consultation", "pt"),
        ("_preço_", "price", "consultation", "pt"),
        ("~preço~ ```preço```", "price", "consultation", "pt"),
        ("*Quanto* _custa_", "price", "consultation", "pt"),
        ("prec\u0327o", "price", "consultation", "pt"),
        ("PREC\u0327O", "price", "consultation", "pt"),
        ("horario", "faq", "hours", "pt"),
        ("hora\u0301rio", "faq", "hours", "pt"),
        ("𝐏𝐫𝐞ç𝐨", "price", "consultation", "pt"),
        ("ｐｒｅｃｏ", "price", "consultation", "pt"),
        ("quanto 💰 custa", "price", "consultation", "pt"),
        ("quanto💰custa", "price", "consultation", "pt"),
        ("👩\u200d⚕️quanto 👍🏽 custa", "price", "consultation", "pt"),
        ("> preço\n- quanto", "price", "consultation", "pt"),
        ("Quanto tempo? Custa a chegar", "complex", "", "pt"),
        ("", "complex", "", "pt"),
        ("xyz", "complex", "", "pt"),
    ],
)
def test_a_text_goes_to_its_lane(text: str, lane: str, topic: str, language: str) -> None:
    found = classify(text)
    assert (found.name, found.topic, found.language) == (lane, topic, language)
