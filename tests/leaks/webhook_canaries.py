"""Everything that the outside can send to the service, with canaries in all of it."""

import base64
import json
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import count, cycle
from typing import Any
from urllib.parse import quote

from tests.leaks.canaries import APIKEY, BEARER, BIRTH, CANARIES, EMAIL, JID, NAME, PHONE, TEXT, Canary

WEBHOOK = "/webhooks/evolution"
ALL = "\n".join(canary.text for canary in CANARIES)
MESSAGE = f"Quanto custa? {ALL}"
WRONG: tuple[Any, ...] = (None, True, -1, 10**30, 1.5, [], {}, "", [ALL], {ALL: ALL})
_numbers = count(1)


@dataclass(frozen=True)
class Request:
    """One HTTP request to the service; authorised ones get the right secret."""

    body: bytes = b""
    path: str = WEBHOOK
    method: str = "POST"
    headers: tuple[tuple[str, bytes], ...] = ()
    authorised: bool = True


def new_id() -> str:
    """An id as WhatsApp makes them."""
    return f"3EB0CA{next(_numbers):06X}ABCDEF"


def text_event(text: str = MESSAGE) -> dict[str, Any]:
    """A message as Evolution delivers it, of a patient whose every word is a canary."""
    return {
        "event": "messages.upsert",
        "instance": "clinic-leaks",
        "data": {
            "key": {"remoteJid": JID.text, "fromMe": False, "id": new_id(), "participant": JID.text},
            "pushName": NAME.text,
            "status": "DELIVERY_ACK",
            "message": {"conversation": text, "messageContextInfo": {"deviceListMetadata": {"senderKeyHash": ALL}}},
            "messageType": "conversation",
            "messageTimestamp": int(time.time()),
            "instanceId": ALL,
            "source": ALL,
            "contextInfo": {"mentionedJid": [JID.text, PHONE.text], "quotedMessage": {"conversation": TEXT.text}},
        },
        "destination": f"http://service:8000{WEBHOOK}?phone={PHONE.text}",
        "date_time": BIRTH.text,
        "sender": JID.text,
        "server_url": f"http://{EMAIL.text}@evolution:8080",
        "apikey": APIKEY.text,
        ALL: ALL,
    }


def media_event() -> dict[str, Any]:
    """A picture with a caption, the canaries in its bytes too."""
    event = text_event()
    picture = base64.b64encode(b"\xff\xd8\xff" + ALL.encode() * 50).decode()
    image = {
        "url": f"https://mmg.whatsapp.net/{quote(ALL)}",
        "mimetype": ALL,
        "caption": MESSAGE,
        "jpegThumbnail": picture,
    }
    event["data"] |= {"message": {"imageMessage": image, "base64": picture}, "messageType": "imageMessage"}
    return event


def hidden_event() -> dict[str, Any]:
    """A message of somebody whose number WhatsApp hides."""
    event = text_event()
    event["data"]["key"] |= {"remoteJid": "5521976458803@lid", "remoteJidAlt": JID.text, "addressingMode": ALL}
    return event


def paths(node: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield (*above, key)
        yield from paths(value, (*above, key))


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at this place."""
    copy = deepcopy(document)
    node = copy
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return copy


def encode(event: Any) -> bytes:
    """As JSON, with an id of its own where it has a usable one."""
    return json.dumps(event, ensure_ascii=False).encode("utf-8", "surrogatepass")


def bodies() -> Iterator[bytes]:
    """Events with a canary, or something wrong, at every place; and what is no event at all."""
    canaries, wrong = cycle(canary.text for canary in CANARIES), cycle(WRONG)
    for make in (text_event, media_event, hidden_event):
        for path in list(paths(make())):
            for value in (next(canaries), next(wrong))[: 2 if make is text_event else 1]:
                yield encode(replaced(make(), path, value))
    for canary in CANARIES:
        yield from garbage(canary)
        for spelling in canary.spellings:
            yield encode(replaced(text_event(), ("data", "key", "id"), spelling))
    for kind in ("presence.update", "messages.edited", "contacts.update", ALL, JID.text):
        yield encode(text_event() | {"event": kind})
    for message in ({"aKindOfTomorrow": {"text": ALL}}, {ALL: {"message": {ALL: ALL}}}, {"viewOnceMessage": ALL}, {}):
        yield encode(replaced(text_event(), ("data", "message"), message))
    for sender in (f"{PHONE.text}@interop", f"{ALL}@{ALL}", f"{PHONE.text}:12@bot"):
        yield encode(replaced(text_event(), ("data", "key", "remoteJid"), sender))


def garbage(canary: Canary) -> Iterator[bytes]:
    """No JSON, half of it, wrong bytes, other encodings, too deep."""
    whole = encode(text_event(canary.text))
    yield canary.text.encode()
    yield json.dumps(canary.text).encode()
    yield json.dumps([canary.text]).encode()
    yield json.dumps({canary.text: canary.text}).encode()
    yield whole[:-20]
    yield whole.replace(b"clinic", b"\xff\xfe" + canary.text.encode())
    yield whole.decode().encode("utf-16")
    yield canary.text.encode("latin-1", "replace")
    yield b'{"event":"messages.upsert","instance":"\\ud800' + canary.text.encode().replace(b'"', b"") + b'"}'
    yield b'{"a":' * 3000 + json.dumps(canary.text).encode() + b"}" * 3000
    yield b"x" * 11_000_000 if canary is NAME else b'{"n":' + b"9" * 5000 + b"}"


HEADERS = (
    *("User-Agent", "Referer", "Cookie", "Authorization", "Proxy-Authorization", "X-Forwarded-For", "X-Real-IP"),
    *("Forwarded", "X-Forwarded-Host", "X-Request-ID", "traceparent", "tracestate", "baggage", "b3", "uber-trace-id"),
    *("X-Webhook-Secret", "apikey", "Origin", "Accept", "Accept-Language", "Content-Type", "Content-Encoding", "From"),
    *("If-None-Match", "X-Patient", "X-HTTP-Method-Override", "Host"),
)
TRACEPARENT = b"00-5511987340621198734062155119873a-5511987340621abc-01"


def around() -> Iterator[Request]:
    """Canaries in the path, the query, the method and the headers, three in each."""
    for number, canary in enumerate(CANARIES):
        path = quote(canary.text, safe="")
        for place in (
            f"{WEBHOOK}/{path}",
            f"{WEBHOOK}/messages-upsert?phone={path}",
            f"/{path}",
            f"{WEBHOOK}/a/{path}",
            f"/webhooks/{path}",
            f"//webhooks//evolution//{path}//",
        ):
            yield Request(encode(text_event()), place)
            yield Request(canary.text.encode(), place, authorised=False)
        for place in ("/health", "/metrics", "/metrics/summary", f"/metrics?name={path}", f"/health?{path}={path}"):
            yield Request(
                path=place, method="GET", headers=(("Accept", path.encode()), ("User-Agent", canary.text.encode()))
            )
        for method in (
            "GET",
            "PUT",
            "DELETE",
            "OPTIONS",
            "PATCH",
            "TRACE",
            path.replace("%", "").replace(".", "")[:30],
        ):
            yield Request(canary.text.encode(), method=method)
        for header in HEADERS[number % 3 :: 3]:
            value = TRACEPARENT if header == "traceparent" else path.encode()
            raw = Request(encode(text_event()), headers=((header, value),), authorised=header != "X-Webhook-Secret")
            yield raw
    yield Request(
        encode(text_event()), headers=(("Authorization", f"Bearer {BEARER.text}".encode()),), authorised=False
    )
    yield Request(encode(text_event()), headers=(("Cookie", ALL.replace("\n", " ").encode()),))


def raw_requests() -> Iterator[bytes]:
    """What is no HTTP, or breaks off."""
    for canary in CANARIES:
        one = canary.text.replace("\n", " ").encode()
        yield one + b"\r\n\r\n"
        yield b"POST " + one + b" HTTP/1.1\r\n\r\n"
        yield b"POST /webhooks/evolution HTTP/1.1\r\nHost: a\r\n" + one + b"\r\n\r\n"
        yield b"POST /webhooks/evolution HTTP/1.1\r\nHost: a\r\nContent-Length: " + one + b"\r\n\r\n"
        yield (
            b"POST /webhooks/evolution HTTP/1.1\r\nHost: a\r\nX-Webhook-Secret: %SECRET%\r\nContent-Length: 999\r\n\r\n"
            + one
        )
        yield b"GET /?" + one.replace(b" ", b"+") + b" HTTP/1.1\r\nHost: " + one + b"\r\nUpgrade: websocket\r\n\r\n"
