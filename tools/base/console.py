"""The terminal that everything is printed on."""

import os
import sys

from rich.console import Console

PIPE = 160  # columns where there is no terminal and nobody says COLUMNS: no id is folded


def terminal(*, errors: bool = False) -> Console:
    """What prints for people; `errors`: on stderr, for what is not the answer."""
    stream = sys.stderr if errors else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE
    return Console(stderr=errors, highlight=False, soft_wrap=True, width=width)
