"""Everything a patient can say is read; what says nothing to us is ignored; what nobody knows is not guessed at."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from app.conversation import kinds

TABLE: dict[str, Any] = yaml.safe_load((Path(kinds.__file__).with_name("kinds.yaml")).read_text("utf-8"))
PROTOCOL: dict[str, str] = yaml.safe_load(Path(__file__).with_name("baileys_message.yaml").read_text("utf-8"))
CLASSES = ("words", "things", "wrappers", "nothing", "context")
WORDS = "Qual o preço da consulta?"


def paths() -> list[tuple[str, str]]:
    return [(kind, path) for name in ("words", "things") for kind, all_ in TABLE[name].items() for path in all_ or [""]]


def said(kind: str, path: str, text: str = WORDS) -> dict[str, Any]:
    """A content that holds the words at a path of its kind."""
    value: Any = text
    for name in reversed([kind, *filter(None, path.split("."))]):
        value = [value] if name.isdecimal() else {name: value}
    content: dict[str, Any] = value
    return content


def test_each_kind_of_the_protocol_is_in_exactly_one_class() -> None:
    classes = {kind: [name for name in CLASSES if kind in TABLE[name]] for kind in PROTOCOL}
    assert {kind: found for kind, found in classes.items() if len(found) != 1} == {}


def test_each_wrapper_of_the_protocol_is_opened() -> None:
    around_a_message = {"FutureProofMessage", "DeviceSentMessage", "CommentMessage"}
    assert {kind for kind, type_ in PROTOCOL.items() if type_ in around_a_message} == set(TABLE["wrappers"])


def test_the_protocol_has_kinds_of_each_class() -> None:
    """The counts that service/README.md tells."""
    with_words = {kind for kind, path in paths() if path or kind in TABLE["words"]}
    found = {
        "words": len(with_words & PROTOCOL.keys()),
        "things without words": len((TABLE["things"].keys() - with_words) & PROTOCOL.keys()),
        "wrappers": len(set(TABLE["wrappers"]) & PROTOCOL.keys()),
        "nothing": len(set(TABLE["nothing"]) & PROTOCOL.keys()),
        "context": len(set(TABLE["context"]) & PROTOCOL.keys()),
    }
    assert sum(found.values()) == len(PROTOCOL) == 95
    assert found == {"words": 38, "things without words": 11, "wrappers": 25, "nothing": 20, "context": 1}


@pytest.mark.parametrize(("kind", "path"), paths())
def test_words_are_found_wherever_a_kind_has_them(kind: str, path: str) -> None:
    content = said(kind, path)
    if path or kind in TABLE["words"]:
        assert kinds.words(content | {"messageContextInfo": {"deviceListMetadataVersion": 2}}, kind) == WORDS


@pytest.mark.parametrize("kind", TABLE["things"])
def test_something_of_a_patient_without_words_has_none(kind: str) -> None:
    assert kinds.words({kind: {}, "base64": "AAAA"}, kind) == ""
    assert kinds.words({kind: dict.fromkeys(("caption", "text", "title"), " \u00a0\n")}, kind) == ""


@pytest.mark.parametrize("wrapper", [*TABLE["wrappers"], "aWrapperOfTomorrow"])
def test_wrappers_are_opened_nested_too(wrapper: str) -> None:
    inner = {"extendedTextMessage": {"text": WORDS}}
    assert kinds.words({wrapper: {"message": inner}}, wrapper) == WORDS
    assert kinds.words({"ephemeralMessage": {"message": {wrapper: {"message": inner}}}}, "ephemeralMessage") == WORDS
    assert kinds.words({wrapper: {"message": {"pinInChatMessage": {}}}}, wrapper) is None
    assert kinds.words({wrapper: {"message": {"stickerMessage": {}}}}, wrapper) == ""


@pytest.mark.parametrize("kind", [*TABLE["nothing"], *TABLE["context"], *TABLE["wrappers"]])
def test_what_says_nothing_to_us_is_nothing(kind: str) -> None:
    assert kinds.words({kind: {"text": WORDS}}, kind) is None


@pytest.mark.parametrize("kind", TABLE["nothing"])
def test_words_count_also_beside_a_kind_that_says_nothing(kind: str) -> None:
    assert kinds.words({kind: {}, "conversation": WORDS}, kind) == WORDS


@pytest.mark.parametrize(
    "content", [{}, {"messageContextInfo": {}}, {"conversation": ""}, {"extendedTextMessage": {"text": None}}]
)
def test_an_empty_delivery_is_nothing(content: dict[str, Any]) -> None:
    assert kinds.words(content, "conversation") is None


@pytest.mark.parametrize(
    ("content", "message_type"),
    [
        ({"aKindOfTomorrow": {"text": WORDS}}, "aKindOfTomorrow"),
        ({"aKindOfTomorrow": True}, ""),
        ({"reactionMessage": {}, "aKindOfTomorrow": {}}, "reactionMessage"),
        ({"ephemeralMessage": {"message": {"aKindOfTomorrow": {}}}}, "ephemeralMessage"),
        ({}, "interactiveMessage"),  # a filled form through Meta's Cloud API, whose answers Evolution drops
    ],
)
def test_a_kind_that_nobody_knows_is_not_guessed_at(content: dict[str, Any], message_type: str) -> None:
    with pytest.raises(kinds.UnknownKindError):
        kinds.words(content, message_type)


def test_a_message_in_more_wrappers_than_anybody_sends_is_not_understood() -> None:
    def wrapped(times: int) -> dict[str, Any]:
        return {"viewOnceMessage": {"message": wrapped(times - 1)}} if times else {"conversation": WORDS}

    assert kinds.words(wrapped(16), "") == WORDS
    for times in (17, 200):
        with pytest.raises(kinds.UnknownKindError):
            kinds.words(wrapped(times), "")


def test_media_that_the_type_alone_names_are_something_of_the_patient() -> None:
    assert kinds.words({"base64": "AAAA"}, "imageMessage") == ""
    assert kinds.words({"contextInfo": {"stanzaId": "3EB0"}}, "interactiveMessage") == ""


@pytest.mark.parametrize(
    "name", ["messages.update", "MESSAGES_UPDATE", "messages-update", "Messages.Update", "typebot.change-status"]
)
def test_an_event_is_known_in_any_spelling(name: str) -> None:
    assert kinds.is_event(name)
    assert not kinds.is_event(name + ".tomorrow")
