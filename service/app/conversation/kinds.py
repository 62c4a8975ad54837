"""What a message says: words, something of the patient without words, or nothing for us. The table is kinds.yaml."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

_MAX_WRAPPERS = 16  # WhatsApp nests two or three

_TABLE: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("kinds.yaml").read_text("utf-8"))
_PATHS: dict[str, list[list[str]]] = {
    kind: [path.split(".") for path in paths] or [[]] for kind, paths in (_TABLE["words"] | _TABLE["things"]).items()
}
"""Where a kind's words may be, in the order of the table."""
_THINGS, _WRAPPERS = frozenset(_TABLE["things"]), frozenset(_TABLE["wrappers"])
_KNOWN = frozenset(_PATHS) | _WRAPPERS | frozenset(_TABLE["nothing"])
_CONTEXT = frozenset(_TABLE["context"])


class UnknownKindError(ValueError):
    """A kind of message that nobody knows yet; the text names none, it comes from outside."""


def words(content: Mapping[str, Any], message_type: str) -> str | None:
    """The words of a message, empty for something of the patient without words; None for nothing for us.

    Args:
        content: Evolution's `data.message`.
        message_type: Evolution's `data.messageType`, which names the kind where the content holds media only.

    Raises:
        UnknownKindError: nothing but kinds that are not in the table.
    """
    kinds = dict(_opened(content, _MAX_WRAPPERS))
    for kind, paths in _PATHS.items():
        found = next(filter(None, (_at(kinds[kind], path) for path in paths)), "") if kind in kinds else ""
        if found:
            return found
    if any(kind in _THINGS for kind in kinds) or (not kinds and content and message_type in _THINGS):
        return ""
    if any(kind not in _KNOWN for kind in kinds) or (not kinds and message_type in _THINGS):
        raise UnknownKindError("a kind of message that is not in kinds.yaml")
    return None


def is_event(name: str) -> bool:
    """Whether Evolution is known to send this event, whatever its spelling (`MESSAGES_UPDATE`, `messages-update`)."""
    return plain(name) in _EVENTS


def plain(event: str) -> str:
    """An event's name without what its spellings differ in."""
    return "".join(filter(str.isalnum, event)).lower()


_EVENTS = frozenset(map(plain, _TABLE["events"]))


def _opened(content: Mapping[str, Any], depth: int) -> Iterator[tuple[str, object]]:
    """The kinds in a content, out of their wrappers. A wrapper around nothing is empty, as a whole delivery can be."""
    for kind, value in content.items():
        if kind in _CONTEXT or value is None:
            continue
        inner = value.get("message") if isinstance(value, dict) else None
        if kind not in _WRAPPERS and (kind in _KNOWN or not isinstance(inner, dict)):
            yield kind, value
        elif depth == 0:
            raise UnknownKindError("a message in too many wrappers")
        elif isinstance(inner, dict):
            yield from _opened(inner, depth - 1)


def _at(value: object, path: list[str]) -> str:
    """The words at a path, or none."""
    for name in path:
        if isinstance(value, str):
            value = _json(value)
        if isinstance(value, list):
            value = value[int(name)] if name.isdecimal() and int(name) < len(value) else None
        else:
            value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and value.strip() else ""


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
