"""Who sent a message: one name for one person, wherever a version of Evolution or a channel puts the number.

WhatsApp addresses a person by number (`5511…@s.whatsapp.net`) or by a hidden id (`…@lid`). Evolution 2.0 to 2.2 pass on
what came; 2.3.0 puts the number into `senderPn`, 2.3.2 moves the hidden id to `previousRemoteJid`, 2.3.6 has the other
one of both in `remoteJidAlt`, and some messages hold the hidden id alone (evolution-api#1872). Servers and bots:
Baileys' WABinary/jid-utils.ts.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_FIELDS = (  # of `data.key`, and of `data` where an older version has it there; never `sender`, which is the clinic
    "remoteJid",
    "remoteJidAlt",
    "senderPn",
    "senderLid",
    "previousRemoteJid",
    "participant",
    "participantAlt",
    "participantPn",
    "participantLid",
)
_NUMBERS = frozenset({"s.whatsapp.net", "c.us", "hosted", ""})
_HIDDEN = frozenset({"lid", "hosted.lid"})
_NOBODY = frozenset({"g.us", "broadcast", "newsletter", "bot", "call"})
# Meta's assistants, WhatsApp itself, and (old) groups, which have ids of 18 digits and more.
_NOBODYS_NUMBER = re.compile(r"1313555\d{4}|131655500\d{2}|16505361212|0|\d{18,}|\d+-\d+|server|status")


class NoSenderError(ValueError):
    """There is no address, or one that holds no number."""


class UnknownSenderError(ValueError):
    """An address of a kind that nobody knows yet."""


@dataclass(frozen=True, slots=True)
class Sender:
    """A person.

    Attributes:
        patient: digits of the phone number, or `…@lid` where only that is known.
        lid: the hidden id, `…@lid`, or empty where it is not known.
    """

    patient: str
    lid: str


def sender(key: Mapping[str, Any], data: Mapping[str, Any]) -> Sender | None:
    """Who wrote, by Evolution's `data.key` and `data`; None for groups, broadcasts, newsletters and bots.

    Raises:
        NoSenderError: no address.
        UnknownSenderError: one of an unknown kind.
    """
    addresses = [parts for field in _FIELDS for place in (key, data) if (parts := _parts(place.get(field)))]
    if not addresses:
        raise NoSenderError("no address")
    user, server = addresses[0]
    if server in _NOBODY or (server in _NUMBERS and _NOBODYS_NUMBER.fullmatch(user)):
        return None
    if server not in _NUMBERS | _HIDDEN:
        raise UnknownSenderError("an address of an unknown kind")
    named = [(user, server) for user, server in addresses if re.fullmatch("[0-9]+", user)]
    number = next((user for user, server in named if server in _NUMBERS), "")
    lid = next((f"{user}@lid" for user, server in named if server in _HIDDEN), "")
    if not number and not lid:
        raise NoSenderError("an address without a number")
    return Sender(number or lid, lid)


def _parts(address: object) -> tuple[str, str] | None:
    """User and server of an address, which is `user_agent:device@server` or `user.agent:device@server`."""
    if not isinstance(address, str) or not address.strip():
        return None
    user, _, server = address.strip().lower().partition("@")
    if not server and user.startswith("+"):  # as people write numbers, from a channel of one's own
        user = re.sub(r"\D", "", user)
    return re.split(r"[:_.]", user)[0], server
