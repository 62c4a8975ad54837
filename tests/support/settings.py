"""The settings that the service's README documents, and those that the chart's values take."""

import json
import re
from typing import Any

from tools.stack.programs import ROOT

SCHEMA: dict[str, Any] = json.loads((ROOT / "deploy" / "kubernetes" / "values.schema.json").read_text("utf-8"))
BACKEND = SCHEMA["properties"]["backend"]["properties"]


def offered(group: str) -> set[str]:
    """The variables that may stand in `backend.settings` or `backend.secrets`."""
    return set(BACKEND[group]["propertyNames"]["enum"])


def documented() -> set[str]:
    """The variables of the service's README."""
    table = (ROOT / "service" / "README.md").read_text("utf-8").partition("## Settings (environment)")[2]
    first = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return set(re.findall(r"`([A-Z][A-Z0-9_]+)", " ".join(first)))
