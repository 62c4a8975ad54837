"""A delivery of Evolution API becomes a Message, or nothing, or an error that repeats none of it.

Shapes: EvolutionAPI/evolution-api 2.0 to 2.3.7, whatsapp.baileys.service.ts, whatsapp.business.service.ts (Meta's Cloud
API), evolution.channel.service.ts, webhook.controller.ts.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from app.conversation import kinds
from app.conversation.sender import NoSenderError, UnknownSenderError, sender

_MAX_TEXT = 65_536  # WhatsApp's own limit
_MAX_NAME = 200
_FIRST_SECOND, _LAST_SECOND = 1_230_768_000, 4_102_444_800  # 2009, when WhatsApp began, to 2100


@dataclass(frozen=True, slots=True)
class Message:
    """A patient's message.

    Attributes:
        instance: Evolution's instance, the clinic's number.
        message_id: unique within the instance; with it, the identity of the message.
        patient: digits of the phone number, or `…@lid` where WhatsApp hides it; where the answer goes.
        name: as the patient calls themself, or empty.
        text: or empty, for media without a caption or transcript.
        lid: the patient's hidden id, or empty where it is not known.
        sent_at: when the patient sent it, or None where the delivery does not say.
    """

    instance: str
    message_id: str
    patient: str
    name: str
    text: str
    lid: str = ""
    sent_at: datetime | None = None

    @property
    def key(self) -> str:
        """The identity as one string."""
        return f"{self.instance}:{self.message_id}"

    def is_older_than(self, age: timedelta) -> bool:
        """Whether it was sent longer ago than that; False where nobody knows."""
        return self.sent_at is not None and datetime.now(UTC) - self.sent_at > age


class NotUnderstoodError(ValueError):
    """The delivery may hold a patient's message, but not in a shape that this version knows.

    Attributes:
        reason: one of REASONS.
        errors: where and what kind, as `{"loc": "data.key.id", "type": "missing"}`; never the input.
    """

    REASONS = ("json", "shape", "event", "kind", "sender", "path")

    def __init__(self, reason: str, errors: list[dict[str, str]] | None = None) -> None:
        super().__init__("the body is no event of Evolution API")
        self.reason = reason
        self.errors = errors or []

    @property
    def is_new(self) -> bool:
        """A whole event, of a kind that nobody knows yet; else the delivery itself is wrong."""
        return self.reason in ("event", "kind", "sender")


def _without_controls(value: object) -> object:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise ValueError("no text")
    text = str(value)
    if not text.strip() or re.search(r"[\x00-\x1f\x7f-\x9f]", text):
        raise ValueError("empty or control characters")
    return text


def _nothing_is_false(value: object) -> object:
    return False if value is None else value


def _the_only_one(value: object) -> object:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


_Identifier = Annotated[str, BeforeValidator(_without_controls), Field(max_length=512)]
"""Any text without control characters: people name instances as they like."""


class _Key(BaseModel, extra="allow"):
    id: _Identifier
    fromMe: Annotated[bool, BeforeValidator(_nothing_is_false)] = False  # noqa: N815 - Evolution's names


class _Data(BaseModel, extra="allow"):
    key: _Key
    pushName: object = None  # noqa: N815
    messageType: object = None  # noqa: N815
    messageTimestamp: object = None  # noqa: N815
    message: dict[str, Any] | None = None


class _Event(BaseModel):
    event: Annotated[str, Field(max_length=64)]


class _Upsert(_Event):
    instance: _Identifier
    data: Annotated[_Data, BeforeValidator(_the_only_one)]


def parse(body: bytes) -> Message | None:
    """The patient's message in a webhook's body; None where there is nothing to answer.

    Nothing to answer are: other events, own messages, groups, broadcasts, bots, kinds that say nothing to us, and
    deliveries without content: WhatsApp delivers the content later, under the same id.

    Raises:
        NotUnderstoodError: to be kept, and read again by a later version.
    """
    document = _document(body)
    try:
        event = _Event.model_validate(document).event
        if kinds.plain(event) != "messagesupsert":
            if kinds.is_event(event):
                return None
            raise NotUnderstoodError("event")
        upsert = _Upsert.model_validate(document)
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False, include_context=False)
        raise NotUnderstoodError(
            "shape", [{"loc": _location(detail["loc"]), "type": detail["type"]} for detail in details]
        ) from None
    return None if upsert.data.key.fromMe else _message(upsert)


def _message(upsert: _Upsert) -> Message | None:
    data = upsert.data
    try:
        person = sender(data.key.model_extra or {}, data.model_extra or {})
        text = kinds.words(data.message or {}, _text(data.messageType)) if person else None
    except NoSenderError:
        raise NotUnderstoodError("shape", [{"loc": "data.key.remoteJid", "type": "missing"}]) from None
    except UnknownSenderError:
        raise NotUnderstoodError("sender", [{"loc": "data.key.remoteJid", "type": "unknown"}]) from None
    except kinds.UnknownKindError:
        raise NotUnderstoodError("kind", [{"loc": "data.message", "type": "unknown"}]) from None
    if person is None or text is None:
        return None
    if len(text) > _MAX_TEXT:
        raise NotUnderstoodError("shape", [{"loc": "data.message", "type": "string_too_long"}])
    return Message(
        instance=upsert.instance,
        message_id=data.key.id,
        patient=person.patient,
        name=_text(data.pushName)[:_MAX_NAME],
        text=_text(text),
        lid=person.lid,
        sent_at=_time(data.messageTimestamp),
    )


def _document(body: bytes) -> Any:
    """The body's JSON. What strict readers refuse is mended: half an emoji, a byte order mark, another encoding.

    Raises:
        NotUnderstoodError: it is no JSON.
    """
    try:
        return _JSON.validate_json(body)  # fast: bodies with media are megabytes
    except ValidationError:
        pass
    try:
        text = body.decode(json.detect_encoding(body), "replace")
        return _whole(json.loads(text, strict=False))
    except (ValueError, RecursionError):
        raise NotUnderstoodError("json", [{"loc": "body", "type": "json_invalid"}]) from None


def _whole(value: Any) -> Any:
    """Without half emoji (lone surrogates), which no database takes."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return {_whole(key): _whole(item) for key, item in value.items()} if isinstance(value, dict) else value


def _text(value: object) -> str:
    """A text without NUL, which PostgreSQL can't hold; empty for what is no text."""
    return value.replace("\x00", "") if isinstance(value, str) else ""


def _time(value: object) -> datetime | None:
    """A time: seconds or smaller units since 1970 as number, text or Long, or ISO 8601."""
    if isinstance(value, Mapping):  # Long, JavaScript's two halves of 64 bits
        low, high = value.get("low"), value.get("high")
        value = (high << 32) + (low & 0xFFFFFFFF) if isinstance(low, int) and isinstance(high, int) else None
    if isinstance(value, str):
        value = _seconds(value)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    for unit in (1, 1_000, 1_000_000, 1_000_000_000):
        if _FIRST_SECOND * unit <= value <= _LAST_SECOND * unit:
            return datetime.fromtimestamp(value / unit, UTC)
    return None  # nonsense; such a message is not taken for an old one


def _seconds(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _location(loc: tuple[int | str, ...]) -> str:
    """Field names of our models only: a key of the body is input as well."""
    return ".".join(str(part) for part in loc if str(part) in _FIELDS) or "body"


_JSON: TypeAdapter[Any] = TypeAdapter(Any)
_FIELDS = {*_Upsert.model_fields, *_Data.model_fields, *_Key.model_fields}
