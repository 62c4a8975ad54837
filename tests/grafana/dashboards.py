"""The shipped dashboards, read as Grafana reads them: panels, targets, the names and fields of their series."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tools.base.files import ROOT
from tools.show.preview import dashboard as preview

FOLDER = ROOT / "grafana" / "dashboards"
RATE_INTERVAL = "1m"  # four times the data source's timeInterval, as long as a point of the panel is shorter than that
_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")

Json = dict[str, Any]


@dataclass(frozen=True)
class Dashboard:
    """One file."""

    name: str
    text: str

    @cached_property
    def data(self) -> Json:
        """All of it."""
        content: Json = json.loads(self.text)
        return content

    @property
    def uid(self) -> str:
        """What links name it by."""
        return str(self.data["uid"])

    @cached_property
    def panels(self) -> list[Json]:
        """All, rows included."""
        return [one for panel in self.data["panels"] for one in (panel, *panel.get("panels", []))]

    @property
    def shown(self) -> list[Json]:
        """Panels that show something."""
        return [panel for panel in self.panels if panel["type"] != "row"]

    @property
    def targets(self) -> Iterator[tuple[Json, Json]]:
        """Each query with its panel."""
        for panel in self.shown:
            for target in panel.get("targets", []):
                yield panel, target

    @property
    def variables(self) -> list[Json]:
        """What one chooses at the top."""
        return list(self.data["templating"]["list"])

    @property
    def annotations(self) -> list[Json]:
        """Those that are queries; Grafana's own one is none."""
        return [one for one in self.data["annotations"]["list"] if "builtIn" not in one]


def shipped() -> list[Dashboard]:
    """All."""
    return [Dashboard(path.name, path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))]


def asked(expression: str, job: str, lane: str = ".*", interval: str = RATE_INTERVAL) -> str:
    """The query that Grafana sends."""
    for variable, value in {"$__rate_interval": interval, "$job": job, "$lane": lane}.items():
        expression = expression.replace(variable, value)
    return expression


def placeholders(target: Json) -> set[str]:
    """The labels that a legend names."""
    return set(_PLACEHOLDER.findall(target["legendFormat"]))


def legend(target: Json, labels: Mapping[str, str]) -> str:
    """The name of a series."""
    return _PLACEHOLDER.sub(lambda match: labels.get(match[1], ""), target["legendFormat"])


def field(panel: Json, name: str) -> Json:
    """How the series of this name is shown."""
    return preview.field(panel["fieldConfig"], name)
