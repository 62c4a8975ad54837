"""A seeded stream of webhook deliveries as Evolution API makes them. Same seed, same bytes, ids and times included."""

import json
import random
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count as counting
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

INSTANCE = "clinic-demo"
WEBHOOK = "/webhooks/evolution"
PATIENTS = 40  # few enough that most of them write again while their context is still cached
FIRST_SECOND = 1_767_225_600  # 2026-01-01T00:00:00Z; the n-th delivery is n seconds later, whenever it is sent

# Shares are dealt from shuffled decks, not rolled: any 20 classified messages in a row hold 15 of the fast path.
LANES = {"faq": 9, "price": 6, "scheduling": 3, "complex": 2}
KINDS = {
    "text": 24,
    "extended_text": 8,
    "image_caption": 4,
    "lid": 2,
    "reaction": 2,
    "group": 1,
    "own": 2,
    "status_broadcast": 1,
    "edited": 1,
    "unknown_event": 1,
    "duplicate": 2,
    "bad_secret": 1,
    "malformed": 1,
}
CLASSIFIED = frozenset({"text", "extended_text", "image_caption", "lid"})
REJECTED = frozenset({"bad_secret", "malformed"})

CORPUS: dict[str, dict[str, list[str]]] = yaml.safe_load(Path(__file__).with_name("corpus.yaml").read_text("utf-8"))


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook call, and the answer it should get when its message is seen for the first time."""

    kind: str
    """A key of KINDS."""
    path: str
    """WEBHOOK, or with the event appended as Evolution does when it sends "by events"."""
    body: bytes
    genuine: bool
    """False: to be sent with a wrong secret."""
    lane: str
    """The lane expected in the answer; `none` where no message is classified."""
    status: str
    """The status expected in the answer: success, duplicate, ignored or rejected."""
    message_id: str
    number: str
    """The invented patient's."""


def generate(seed: int, count: int) -> list[Delivery]:
    """The first `count` deliveries of the seed's stream."""
    return list(islice(stream(seed), count))


def stream(seed: int) -> Iterator[Delivery]:
    """The seed's deliveries without end."""
    rng = random.Random(seed)  # noqa: S311  repeatable on purpose, guards nothing
    kinds, lanes = _deal(rng, KINDS), _deal(rng, LANES)
    recent: deque[Delivery] = deque(maxlen=50)
    for index in counting():
        kind = next(kinds)
        if kind == "duplicate" and recent:
            yield replace(rng.choice(recent), kind=kind, lane="none", status="duplicate")
            continue
        kind = "text" if kind == "duplicate" else kind  # nothing to repeat yet
        patient = rng.randint(1, PATIENTS)
        delivery = deliver(rng, kind, next(lanes) if kind in CLASSIFIED else "none", index, patient)
        if kind in CLASSIFIED:
            recent.append(delivery)
        yield delivery


def _deal(rng: random.Random, shares: Mapping[str, int]) -> Iterator[str]:
    cards = [name for name, share in shares.items() for _ in range(share)]
    while True:
        rng.shuffle(cards)
        yield from cards


def deliver(rng: random.Random, kind: str, lane: str, index: int, patient: int) -> Delivery:
    """One delivery of a kind (see KINDS), the `index`-th of its stream, of the invented patient with this number."""
    number = f"5500900{patient:06d}"
    message_id = f"3EB0{rng.getrandbits(72):018X}"
    texts = CORPUS[lane if kind in CLASSIFIED else rng.choice(list(CORPUS))]
    text = rng.choice(texts[rng.choice(list(texts))])
    event, data = _event(kind, number, message_id, text, FIRST_SECOND + index)
    body = json.dumps(_envelope(event, data, FIRST_SECOND + index), ensure_ascii=False).encode()
    suffix = "/" + event.replace(".", "-") if rng.random() < 0.25 else ""
    return Delivery(
        kind=kind,
        path=WEBHOOK + suffix,
        body=body[: len(body) // 2] if kind == "malformed" else body,
        genuine=kind != "bad_secret",
        lane=lane,
        status="success" if kind in CLASSIFIED else "rejected" if kind in REJECTED else "ignored",
        message_id=message_id,
        number=number,
    )


def _envelope(event: str, data: dict[str, Any], second: int) -> dict[str, Any]:
    return {
        "event": event,
        "instance": INSTANCE,
        "data": data,
        "destination": f"http://service:8000{WEBHOOK}",
        "date_time": datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "sender": "5500900999999@s.whatsapp.net",
        "server_url": "http://evolution:8080",
        "apikey": None,
    }


def _event(kind: str, number: str, message_id: str, text: str, second: int) -> tuple[str, dict[str, Any]]:
    """The event's name and its `data`; each kind differs from a plain text in one thing."""
    jid = f"{number}@s.whatsapp.net"
    key: dict[str, Any] = {"remoteJid": jid, "fromMe": False, "id": message_id, "addressingMode": "pn"}
    message: dict[str, Any] = {"conversation": text}
    message_type = "conversation"
    match kind:
        case "unknown_event":
            return "presence.update", {"id": jid, "presences": {jid: {"lastKnownPresence": "composing"}}}
        case "edited":
            return "messages.edited", {
                "key": key,
                "type": "MESSAGE_EDIT",
                "editedMessage": message,
                "timestampMs": str(second * 1000),
            }
        case "extended_text":
            message_type, message = "extendedTextMessage", {"extendedTextMessage": {"text": text}}
        case "image_caption":
            image = {"mimetype": "image/jpeg", "caption": text, "fileLength": "48213", "height": 1280, "width": 960}
            message_type, message = "imageMessage", {"imageMessage": image}
        case "reaction":
            message_type, message = (
                "reactionMessage",
                {"reactionMessage": {"key": key | {"fromMe": True}, "text": "👍"}},
            )
        case "group":
            key |= {"remoteJid": "120363000000000001@g.us", "participant": jid}
        case "lid":
            key |= {"remoteJid": f"9{number[-6:]}00000001@lid", "remoteJidAlt": jid, "addressingMode": "lid"}
        case "own":
            key["fromMe"] = True
        case "status_broadcast":
            key |= {"remoteJid": "status@broadcast", "participant": jid}
    return "messages.upsert", {
        "key": key,
        "pushName": f"Test Patient {number[-2:]}",
        "status": "DELIVERY_ACK",
        "message": message,
        "messageType": message_type,
        "messageTimestamp": second,
        "instanceId": "00000000-0000-4000-8000-000000000001",
        "source": "android",
    }
