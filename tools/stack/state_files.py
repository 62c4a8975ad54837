"""The small files in which a stack remembers something: its ports, its processes, its secrets."""

import json
import tempfile
from pathlib import Path
from typing import Any


def read(file: Path) -> dict[str, Any]:
    """What was written there; nothing if there is none, or a power loss left it empty."""
    try:
        return dict(json.loads(file.read_text("utf-8")))
    except (FileNotFoundError, ValueError):
        return {}


def write_private(file: Path, text: str) -> None:
    """For us alone from the first byte on, and whole or not at all."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=file.parent, delete=False) as output:
        output.write(text)
    Path(output.name).replace(file)
