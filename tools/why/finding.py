"""An explanation, and how its numbers are written."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tools.model.contract import seconds
from tools.why.compare import Change, Comparison


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    what: str
    before: str
    during: str


@dataclass(frozen=True)
class Finding:
    """Something that is not as before, and who does it."""

    sentence: str
    """Without a full stop; names the component."""
    rows: tuple[Row, ...] = ()
    traces: tuple[str, ...] = field(default=())
    """Ids of traces that show it, the best first."""


Finder = Callable[[Comparison], Iterator[Finding]]
"""Yields nothing where all is as before."""


def took(value: float) -> str:
    """Seconds, as people read them."""
    return "–" if math.isnan(value) else seconds(float(f"{value:.2g}"))


def percent(value: float) -> str:
    """A share, from 0 to 1."""
    return "–" if math.isnan(value) else f"{value:.0%}"


def a_second(value: float) -> str:
    """A rate."""
    return f"{value:.2g}/s" if value < 10 else f"{value:.0f}/s"


def number(value: float) -> str:
    """A level or a count."""
    return "–" if math.isnan(value) else f"{value:,.0f}"


def row(what: str, change: Change, write: Callable[[float], str]) -> Row:
    """A line of the table."""
    return Row(what, write(change.before), write(change.during))


def capital(words: str) -> str:
    """As at the begin of a sentence."""
    return words[:1].upper() + words[1:]
