"""A dashboard's JSON as Grafana understands it: variables, steps, which options and colours a series has."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import promql_parser as promql

from tools.base.errors import ToolError
from tools.base.files import ROOT

FOLDER = ROOT / "grafana" / "dashboards"
SCRAPE = 15  # seconds; `timeInterval` of grafana/provisioning/datasources
COLUMNS = 24
ROW = "row"

Json = dict[str, Any]

_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
# From seconds, step in seconds: how Grafana rounds range / points.
_STEPS = (
    (7.5, 5),
    (12.5, 10),
    (17.5, 15),
    (25, 20),
    (45, 30),
    (90, 60),
    (210, 120),
    (450, 300),
    (750, 600),
    (1050, 900),
    (1500, 1200),
    (2700, 1800),
)
_LONGEST_STEP = 3600


class PreviewError(ToolError):
    """No picture can be drawn; one line says why and what to do."""


@dataclass(frozen=True)
class Panel:
    """One panel."""

    data: Json

    @property
    def title(self) -> str:
        """Its heading."""
        return str(self.data.get("title", ""))

    @property
    def type(self) -> str:
        """`timeseries`, `stat`, …"""
        return str(self.data["type"])

    @property
    def description(self) -> str:
        """What the person sees who hovers over the i."""
        return str(self.data.get("description", ""))

    @property
    def place(self) -> tuple[int, int, int, int]:
        """Column, line, and how many of each."""
        where = self.data["gridPos"]
        return where["x"], where["y"], where["w"], where["h"]

    def moved(self, lines: int) -> "Panel":
        """The same, so many lines lower."""
        where = self.data["gridPos"]
        return replace(self, data=self.data | {"gridPos": where | {"y": where["y"] + lines}})

    @property
    def targets(self) -> list[Json]:
        """Its queries, without those that are switched off."""
        return [one for one in self.data.get("targets", []) if not one.get("hide")]

    @property
    def options(self) -> Json:
        """Of its kind of panel."""
        return dict(self.data.get("options") or {})

    def field(self, name: str) -> Json:
        """How the series of this name is shown."""
        return field(self.data.get("fieldConfig", {"defaults": {}, "overrides": []}), name)


@dataclass(frozen=True)
class Dashboard:
    """One file."""

    data: Json

    @property
    def uid(self) -> str:
        """What links name it by."""
        return str(self.data["uid"])

    @property
    def title(self) -> str:
        """Its heading."""
        return str(self.data["title"])

    @cached_property
    def panels(self) -> list[Panel]:
        """All from top to bottom, rows too; a collapsed one is opened, and what is below it moves down."""
        found: list[Panel] = []
        moved = 0
        for panel in sorted(map(Panel, self.data["panels"]), key=_reading_order):
            found.append(panel.moved(moved))
            inside = sorted(map(Panel, panel.data.get("panels", [])), key=_reading_order)
            if inside:
                first = inside[0].place[1]
                found += [one.moved(panel.place[1] + moved + 1 - first) for one in inside]
                moved += max(one.place[1] + one.place[3] for one in inside) - first
        return found

    @property
    def annotations(self) -> list[Json]:
        """Those that are queries and switched on."""
        listed = self.data.get("annotations", {}).get("list", [])
        return [one for one in listed if one.get("enable") and one.get("expr")]

    @property
    def seconds(self) -> int:
        """How far it looks back when it is opened."""
        return duration(str(self.data["time"]["from"]).removeprefix("now-"))

    @cached_property
    def variables(self) -> dict[str, str]:
        """What each stands for when nothing was chosen; `All` takes everything."""
        return {one["name"]: _chosen(one) for one in self.data.get("templating", {}).get("list", [])}


def load(path: Path) -> Dashboard:
    """Read one. Raises PreviewError."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise PreviewError(f"{path.name} cannot be read as JSON: {error}") from error
    if not isinstance(data, dict) or not {"uid", "title", "panels", "time"} <= data.keys():
        raise PreviewError(f"{path.name} is no dashboard in the classic format")
    return Dashboard(data)


def shipped() -> list[Dashboard]:
    """All of the repository. Raises PreviewError."""
    return [load(path) for path in sorted(FOLDER.glob("*.json"))]


def duration(text: str) -> int:
    """Seconds of `90s`, `30m`, `6h`, `1d`. Raises PreviewError."""
    if not re.fullmatch(r"[1-9]\d*[smhd]", text):
        raise PreviewError(f"{text} is no duration: 30m, 6h or 1d is one")
    return int(promql.parse_duration(text).total_seconds())


def step(seconds: int, points: int) -> int:
    """Seconds between two points where there is room for so many."""
    wanted = seconds / points
    return max(SCRAPE, next((step for below, step in _STEPS if wanted < below), _LONGEST_STEP))


def substitute(text: str, variables: Mapping[str, str], seconds: int, step: int) -> str:
    """The query that Grafana sends. A variable that nobody knows stays, and Prometheus refuses it."""
    known = {
        **variables,
        "__rate_interval": f"{max(4 * SCRAPE, step + SCRAPE)}s",
        "__interval": f"{step}s",
        "__range": f"{seconds}s",
    }
    return _VARIABLE.sub(lambda match: known.get(match[1] or match[2], match[0]), text)


def name(target: Json, labels: Mapping[str, str]) -> str:
    """What the series is called."""
    form = target.get("legendFormat", "")
    if form in ("", "__auto"):
        inside = ", ".join(f'{key}="{value}"' for key, value in labels.items() if key != "__name__")
        return labels.get("__name__", "") + (f"{{{inside}}}" if inside else "")
    return _PLACEHOLDER.sub(lambda match: labels.get(match[1], ""), form)


def field(config: Json, name: str) -> Json:
    """How a `fieldConfig` shows the series of this name: defaults with overrides over them, `custom` as `custom.…`."""
    defaults = config["defaults"]
    found: Json = defaults | {f"custom.{key}": value for key, value in defaults.get("custom", {}).items()}
    for override in config["overrides"]:
        if takes(override["matcher"], name):
            found |= {one["id"]: one["value"] for one in override["properties"]}
    return found


def threshold_steps(field: Json) -> Iterator[tuple[float, str]]:
    """Value and colour from which on it holds; the first is minus infinity."""
    for one in field.get("thresholds", {}).get("steps", []):
        value = one.get("value")
        yield (float("-inf") if value is None else float(value)), one["color"]


def _reading_order(panel: Panel) -> tuple[int, int]:
    return panel.place[1], panel.place[0]


def _chosen(variable: Json) -> str:
    value = variable.get("current", {}).get("value", "")
    values = value if isinstance(value, list) else [value]
    if "$__all" in values:
        return str(variable.get("allValue") or ".*")
    return values[0] if len(values) == 1 else "(" + "|".join(map(re.escape, values)) + ")"


def takes(matcher: Json, name: str) -> bool:
    """Whether an override is about the series of this name. Raises PreviewError."""
    wanted: str = matcher["options"]
    if matcher["id"] == "byName":
        return wanted == name
    if matcher["id"] != "byRegexp":
        raise PreviewError(f"an override matches {matcher['id']}, which the preview cannot: byName and byRegexp it can")
    if wanted.startswith("/"):
        return re.search(wanted.strip("/"), name) is not None
    return re.fullmatch(wanted, name) is not None
