"""A seeded stream of webhook deliveries as Evolution API makes them. Same seed, same messages; their times are now."""

import json
import random
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from string import Template
from typing import Any

import yaml

INSTANCE = "clinic-demo"
WEBHOOK = "/webhooks/evolution"
PATIENTS = 40  # few enough that most of them write again while their context is still cached

SHAPES: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("shapes.yaml").read_text("utf-8"))
KINDS: dict[str, int] = {kind: shape["share"] for kind, shape in SHAPES.items()}
_STATUS = {"words": "success", "thing": "success", "nothing": "ignored", "new": "ignored", "duplicate": "duplicate"}
_KEPT = {"new", "broken"}

_WRITTEN: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("corpus.yaml").read_text("utf-8"))
# Shares are dealt from shuffled decks, not rolled: any 20 messages with words in a row hold 15 of the fast path.
LANES: dict[str, int] = {lane: one.pop("share") for lane, one in _WRITTEN.items()}
CORPUS: dict[str, dict[str, list[str]]] = _WRITTEN


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
    lid: str
    """The patient's hidden id, or empty where the delivery does not tell it."""
    remembered: bool
    """Whether it has words, which make a memory."""
    answered: bool
    """Whether a reply is due."""
    kept: bool
    """Whether it is kept, because nobody understands it."""


def generate(seed: int, count: int, now: int | None = None, *, everyday: bool = False) -> list[Delivery]:
    """The first `count` deliveries of the seed's stream, all of the same second."""
    return list(islice(stream(seed, now=int(time.time()) if now is None else now, everyday=everyday), count))


def stream(seed: int, *, now: int | None = None, everyday: bool = False) -> Iterator[Delivery]:
    """The seed's deliveries without end.

    Args:
        seed: same seed, same messages.
        now: the second that is told as the time of all; None: of each the one in which it is made.
        everyday: without what is kept: it would have to be looked into.
    """
    rng = random.Random(seed)  # noqa: S311  repeatable on purpose, guards nothing
    shares = {kind: share for kind, share in KINDS.items() if not (everyday and SHAPES[kind]["is"] in _KEPT)}
    kinds, lanes = _deal(rng, shares), _deal(rng, LANES)
    recent: deque[Delivery] = deque(maxlen=50)
    while True:
        kind = next(kinds)
        if kind == "duplicate" and recent:
            yield replace(rng.choice(recent), kind=kind, lane="none", status="duplicate", answered=False)
            continue
        kind = "text" if kind == "duplicate" else kind  # nothing to repeat yet
        lane = next(lanes) if SHAPES[kind]["is"] == "words" else "complex"
        delivery = deliver(rng, kind, lane, rng.randint(1, PATIENTS), now)
        if delivery.status == "success":
            recent.append(delivery)
        yield delivery


def _deal(rng: random.Random, shares: Mapping[str, int]) -> Iterator[str]:
    cards = [name for name, share in shares.items() for _ in range(share)]
    while True:
        rng.shuffle(cards)
        yield from cards


def deliver(rng: random.Random, kind: str, lane: str, patient: int, now: int | None = None) -> Delivery:
    """One delivery of a kind (see KINDS), of the invented patient with this number.

    Args:
        rng: for what the rest does not say.
        kind: of shapes.yaml.
        lane: of the words, where it has some.
        patient: 0 to 999 999.
        now: the second that is told as its time; None: this one.
    """
    shape, number = SHAPES[kind], f"5500900{patient:06d}"
    second = int(time.time()) if now is None else now
    texts = CORPUS[lane]
    values: dict[str, Any] = {
        "text": rng.choice(texts[rng.choice(list(texts))]),
        "id": f"3EB0{rng.getrandbits(72):018X}",
        "number": number,
        "jid": f"{number}@s.whatsapp.net",
        "lid": f"9{patient:06d}00000001@lid",
        "seconds": str(second),
        "three_days_ago": second - 3 * 86_400,
        "long": {"low": second & 0xFFFFFFFF, "high": second >> 32, "unsigned": True},
    }
    event = shape.get("event", "messages.upsert")
    body = json.dumps(_envelope(event, shape, values, second), ensure_ascii=False).encode()
    suffix = "/" + event.replace(".", "-") if rng.random() < 0.25 else ""
    status = _STATUS.get(shape["is"], "rejected")
    return Delivery(
        kind=kind,
        path=WEBHOOK + suffix,
        body=body[: len(body) // 2] if shape["is"] == "broken" else body,
        genuine=shape["is"] != "stranger",
        lane=lane if status == "success" else "none",
        status=status,
        message_id=_filled(shape.get("key", {}).get("id", "$id"), values),
        number=number,
        lid=values["lid"] if "$lid" in shape.get("key", {}).values() else "",
        remembered=shape["is"] == "words",
        answered=status == "success" and kind != "old",
        kept=shape["is"] in _KEPT,
    )


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    """A shape with its `$names` filled in; one that stands alone may be more than text."""
    if isinstance(value, dict):
        return {name: _filled(item, values) for name, item in value.items()}
    if not isinstance(value, str):
        return value
    return values[value[1:]] if value[1:] in values and value[0] == "$" else Template(value).substitute(values)


def _envelope(event: str, shape: Mapping[str, Any], values: Mapping[str, Any], second: int) -> dict[str, Any]:
    envelope: dict[str, Any] = {
        "event": event,
        "instance": INSTANCE,
        "data": _filled(_data(shape, values, second), values),
        "destination": f"http://service:8000{WEBHOOK}",
        "date_time": datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "sender": "5500900999999@s.whatsapp.net",
        "server_url": "http://evolution:8080",
        "apikey": None,
    }
    envelope.update(shape.get("envelope", {}))
    return envelope


def _data(shape: Mapping[str, Any], values: Mapping[str, Any], second: int) -> dict[str, Any]:
    key = {"remoteJid": "$jid", "fromMe": False, "id": "$id", "addressingMode": "pn", **shape.get("key", {})}
    if "event" in shape:
        return {"key": key, **shape["data"]}
    return {
        "key": key,
        "pushName": f"Test Patient {values['number'][-2:]}",
        "status": "DELIVERY_ACK",
        "message": shape["message"],
        "messageType": next(iter(shape["message"]), "conversation"),
        "messageTimestamp": second,
        "instanceId": "00000000-0000-4000-8000-000000000001",
        "source": "android",
        **shape.get("data", {}),
    }
