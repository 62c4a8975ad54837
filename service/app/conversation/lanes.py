"""Sorting a message into its lane, by the rule table in lanes.yaml."""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import yaml

from app.observability.tracing import trace_span


@dataclass(frozen=True, slots=True)
class Lane:
    """Where a message goes.

    Attributes:
        name: a value of the label `lane` of `lane_classification_total`.
        topic: the entry of the catalogue that answers it, or empty.
        language: `pt`, `es` or `en`.
    """

    name: str
    topic: str
    language: str


_UNKNOWN = Lane("complex", "", "pt")
_ZERO_WIDTH = "\u200b"
_NO_LETTERS = {"Mn", "Mc", "Me", "Cf"}  # accents and what emoji are made of; joiners, marks of direction
_BETWEEN_WORDS = re.compile(r"(?:[^\w.,;:!?'-]|_)+")  # blanks of any kind, *bold*, _italic_, ~struck~, symbols


def _load_rules() -> list[tuple[re.Pattern[str], Lane]]:
    table = yaml.safe_load(Path(__file__).with_name("lanes.yaml").read_text("utf-8"))
    return [
        (_any_of(words), Lane(rule["lane"], rule["topic"], language))
        for rule in table
        for language, words in rule["words"].items()
    ]


def _any_of(words: list[str]) -> re.Pattern[str]:
    endings = (re.escape(word[:-1]) + r"\w*" if word.endswith("*") else re.escape(word) for word in words)
    return re.compile(rf"\b(?:{'|'.join(endings)})\b")


_RULES = _load_rules()  # at import: compiling takes longer than classifying some hundred messages


def classify(text: str) -> Lane:
    """The lane of a text; COMPLEX where no rule knows it."""
    with trace_span("lane.classify", {"lane": _UNKNOWN.name}) as span:
        plain = _plain(text)
        lane = next((lane for pattern, lane in _RULES if pattern.search(plain)), _UNKNOWN)
        span.set_attribute("lane", lane.name)
        return lane


def _plain(text: str) -> str:
    """Lower case without accents, in words with single blanks between: WhatsApp's marks and emoji are no part of them.

    A zero-width space may part words or stand within one, so both readings are there.
    """
    letters = "".join(
        character
        for character in unicodedata.normalize("NFKD", text).casefold()
        if character == _ZERO_WIDTH or unicodedata.category(character) not in _NO_LETTERS
    )
    readings = {letters.replace(_ZERO_WIDTH, ""), letters.replace(_ZERO_WIDTH, " ")}
    return "\n".join(" ".join(_BETWEEN_WORDS.split(reading)) for reading in sorted(readings))
