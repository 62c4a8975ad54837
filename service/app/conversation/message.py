"""An event of Evolution API becomes a Message, or nothing, or an InvalidEvent that repeats none of it.

Shapes: EvolutionAPI/evolution-api 2.3, whatsapp.baileys.service.ts and webhook.controller.ts.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

_NOT_A_PATIENT = ("@g.us", "@broadcast", "@newsletter")
_NOT_ANSWERED = ("reactionMessage", "protocolMessage", "editedMessage", "pollUpdateMessage")
_TEXT_PATHS = (
    ("conversation",),
    ("extendedTextMessage", "text"),
    ("imageMessage", "caption"),
    ("videoMessage", "caption"),
    ("documentMessage", "caption"),
    ("documentWithCaptionMessage", "message", "documentMessage", "caption"),
    ("buttonsResponseMessage", "selectedDisplayText"),
    ("listResponseMessage", "title"),
    ("speechToText",),
)
_MAX_TEXT = 65_536  # WhatsApp's own limit
_MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Message:
    """A patient's message.

    Attributes:
        instance: Evolution's instance, the clinic's number.
        message_id: unique within the instance; with it, the identity of the message.
        patient: digits of the phone number, or `…@lid` where WhatsApp hides it; where the answer goes.
        name: as the patient calls themself, or empty.
        text: or empty, for media without a caption or transcript.
    """

    instance: str
    message_id: str
    patient: str
    name: str
    text: str

    @property
    def key(self) -> str:
        """The identity as one string."""
        return f"{self.instance}:{self.message_id}"


class InvalidEvent(ValueError):  # noqa: N818 - it is what the event is
    """The body is no event of Evolution API.

    Attributes:
        errors: where and what kind, as `{"loc": "data.key.id", "type": "missing"}`; never the input.
    """

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__("the body is no event of Evolution API")
        self.errors = errors


def _without_nul(value: object) -> object:
    return value.replace("\x00", "") if isinstance(value, str) else value  # PostgreSQL's text can't hold it


_Printable = Annotated[str, Field(pattern=r"^[\x21-\x7e]+$", max_length=128)]
_Clean = Annotated[str, BeforeValidator(_without_nul)]


class _Key(BaseModel):
    id: _Printable
    remoteJid: _Printable  # noqa: N815 - Evolution's names
    remoteJidAlt: _Printable | None = None  # noqa: N815
    fromMe: bool = False  # noqa: N815


class _Data(BaseModel):
    key: _Key
    pushName: _Clean | None = None  # noqa: N815
    messageType: str = ""  # noqa: N815
    message: dict[str, Any] | None = None


class _Event(BaseModel):
    event: Annotated[str, Field(max_length=64)]
    instance: _Printable


class _Upsert(_Event):
    data: _Data


def parse(body: bytes) -> Message | None:
    """The patient's message in a webhook's body; None where there is nothing to answer.

    Nothing to answer are: other events, own messages, groups, broadcasts, reactions, edits.

    Raises:
        InvalidEvent: no JSON object of Evolution's shape.
    """
    try:
        document = _JSON.validate_json(body)  # once: bodies with media are megabytes
        if _Event.model_validate(document).event.lower().replace("_", ".") != "messages.upsert":
            return None
        upsert = _Upsert.model_validate(document)
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False, include_context=False)
        raise InvalidEvent([{"loc": _location(detail["loc"]), "type": detail["type"]} for detail in details]) from None
    data, content = upsert.data, upsert.data.message or {}
    jid = _address(data.key)
    if data.key.fromMe or jid.endswith(_NOT_A_PATIENT):
        return None
    if data.messageType in _NOT_ANSWERED or any(kind in content for kind in _NOT_ANSWERED):
        return None
    return Message(
        instance=upsert.instance,
        message_id=data.key.id,
        patient=_patient(jid),
        name=(data.pushName or "")[:_MAX_NAME],
        text=_text(content),
    )


def _address(key: _Key) -> str:
    """Before 2.3.7 Evolution passes hidden ids on, with the number beside them."""
    return key.remoteJidAlt if key.remoteJid.endswith("@lid") and key.remoteJidAlt else key.remoteJid


def _patient(jid: str) -> str:
    user, _, server = jid.partition("@")
    return jid if server == "lid" else user.partition(":")[0]  # a device's number may follow the colon


def _text(content: dict[str, Any]) -> str:
    for path in _TEXT_PATHS:
        value: object = content
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, str) and value.strip():
            if len(value) > _MAX_TEXT:
                raise InvalidEvent([{"loc": "data.message", "type": "string_too_long"}])
            return value.replace("\x00", "")
    return ""


def _location(loc: tuple[int | str, ...]) -> str:
    """Field names of our models only: a key of the body is input as well."""
    return ".".join(str(part) for part in loc if str(part) in _FIELDS) or "body"


_JSON: TypeAdapter[Any] = TypeAdapter(Any)
_FIELDS = {*_Upsert.model_fields, *_Data.model_fields, *_Key.model_fields}
