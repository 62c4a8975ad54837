"""A dashboard's JSON as Grafana understands it: panels, variables, steps, which options and colours a series has."""

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


@dataclass(frozen=True)
class Panel:
    """One panel."""

    data: Json

    @property
    def title(self) -> str:
        """Its heading, of all lanes."""
        return str(self.data.get("title", "")).replace("$lane", "All")

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
        return field(self.data, name)


@dataclass(frozen=True)
class Dashboard:
    """One file: its name, and what it says."""

    name: str
    text: str

    @cached_property
    def data(self) -> Json:
        """All of it."""
        return dict(json.loads(self.text))

    @property
    def uid(self) -> str:
        """What links name it by."""
        return str(self.data["uid"])

    @property
    def title(self) -> str:
        """Its heading."""
        return str(self.data["title"])

    @cached_property
    def panels(self) -> list[Json]:
        """All, rows included, in the order of the file."""
        return [one for panel in self.data["panels"] for one in (panel, *panel.get("panels", []))]

    @property
    def shown(self) -> list[Json]:
        """Panels that show something."""
        return [panel for panel in self.panels if panel["type"] != ROW]

    @property
    def targets(self) -> Iterator[tuple[Json, Json]]:
        """Each query with its panel."""
        for panel in self.shown:
            for target in panel.get("targets", []):
                yield panel, target

    @cached_property
    def opened(self) -> list[Panel]:
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
        """Those that are queries; Grafana's own one is none."""
        return [one for one in self.data.get("annotations", {}).get("list", []) if "builtIn" not in one]

    @property
    def seconds(self) -> int:
        """How far it looks back when it is opened."""
        return seconds(str(self.data["time"]["from"]).removeprefix("now-"))

    @property
    def variables(self) -> list[Json]:
        """What one chooses at the top."""
        return list(self.data.get("templating", {}).get("list", []))

    @cached_property
    def chosen(self) -> dict[str, str]:
        """What each variable stands for when nothing was chosen; `All` takes everything."""
        return {one["name"]: _chosen(one) for one in self.variables}


def load(path: Path) -> Dashboard:
    """Read one. Raises ToolError."""
    try:
        found = Dashboard(path.name, path.read_text("utf-8"))
        is_one = {"uid", "title", "panels", "time"} <= found.data.keys()
    except (OSError, ValueError, TypeError) as error:
        raise ToolError(f"{path.name} cannot be read as JSON: {error}") from error
    if not is_one:
        raise ToolError(f"{path.name} is no dashboard in the classic format")
    return found


def shipped_dashboards() -> list[Dashboard]:
    """All of the repository. Raises ToolError."""
    return [load(path) for path in sorted(FOLDER.glob("*.json"))]


def seconds(text: str) -> int:
    """Seconds of `90s`, `30m`, `6h`, `1d`. Raises ToolError."""
    if not re.fullmatch(r"[1-9]\d*[smhd]", text):
        raise ToolError(f"{text} is no duration: 30m, 6h or 1d is one")
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


def asked(expression: str, job: str, lane: str = ".*") -> str:
    """The query that Grafana sends of a short time, when a job and lanes are chosen."""
    return substitute(expression, {"job": job, "lane": lane}, 0, SCRAPE)


def name(target: Json, labels: Mapping[str, str]) -> str:
    """What the series is called."""
    if target.get("legendFormat", "") in ("", "__auto"):
        inside = ", ".join(f'{key}="{value}"' for key, value in labels.items() if key != "__name__")
        return labels.get("__name__", "") + (f"{{{inside}}}" if inside else "")
    return legend(target, labels)


def legend(target: Json, labels: Mapping[str, str]) -> str:
    """What the target's legend says of a series; empty where it has none."""
    return _PLACEHOLDER.sub(lambda match: labels.get(match[1], ""), target["legendFormat"])


def placeholders(target: Json) -> set[str]:
    """The labels that a legend names."""
    return set(_PLACEHOLDER.findall(target["legendFormat"]))


def field(panel: Json, name: str) -> Json:
    """How a panel shows the series of this name: defaults with overrides over them, `custom` as `custom.…`."""
    config = panel.get("fieldConfig", {"defaults": {}, "overrides": []})
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
    """Whether an override is about the series of this name. Raises ToolError."""
    wanted: str = matcher["options"]
    if matcher["id"] == "byName":
        return wanted == name
    if matcher["id"] != "byRegexp":
        raise ToolError(f"an override matches {matcher['id']}, which the preview cannot: byName and byRegexp it can")
    if wanted.startswith("/"):
        return re.search(wanted.strip("/"), name) is not None
    return re.fullmatch(wanted, name) is not None
