"""What every dashboard must keep about its series: their lines, axes and colours; each rule yields what is wrong."""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml

from tools.base.files import ROOT
from tools.check.dashboard_promises import (
    ALERTS,
    ANY_COLOUR,
    BELOW_THE_FIRST,
    COLOUR,
    LINES,
    OVERRIDDEN,
    SMALL,
    Line,
)
from tools.check.dashboard_values import PANELS
from tools.model.dashboard import Dashboard, Json, field, takes
from tools.model.expected import SHIPPED

_SCALE = {"ms": 1e-3, "min": 60, "%": 1e-2, "MiB": 2**20}


def lines_are_the_alerts(it: Dashboard) -> Iterator[str]:
    """Thresholds, drawn, coloured and described; each the number that its alert, target or scrape has."""
    wanted = LINES[it.uid]
    for panel, name in _axes(it):
        where, lines = f"{panel['id']} {name}".strip(), wanted.get((panel["id"], name), ())
        shown = field(panel, name)
        base, *steps = shown["thresholds"]["steps"]
        if [(step["value"], step["color"]) for step in steps] != [(line.value, line.colour) for line in lines]:
            yield f"{where} has the thresholds {steps}"
        if shown["thresholds"]["mode"] != "absolute" or base["value"] is not None:
            yield f"{where}: thresholds begin elsewhere"
        if panel["type"] == "stat":
            if base["color"] != BELOW_THE_FIRST[panel["id"]] or shown["color"]["mode"] != "thresholds":
                yield f"{where} is not coloured by its thresholds"
        elif shown["custom.thresholdsStyle"]["mode"] != ("dashed" if lines else "off"):
            yield f"{where} draws no lines, or lines of nothing"
        elif base["color"] != ("transparent" if lines else "text"):
            yield f"{where}: the ground has a colour"
        yield from (f"{where} {problem}" for problem in _told(panel, lines))


def _told(panel: Json, lines: tuple[Line, ...]) -> Iterator[str]:
    """Whether the description says the lines and the target, and whether these are what alerts compare."""
    for line in lines:
        yield from _sourced(line)
        if "(" not in line.text and line.colour == "green" and panel["id"] in range(1, 15):
            target = re.search(r"\n\nTarget: (.+?)\. (Lines?|Colours?)", panel["description"])
            if target is None or line.text not in target[1]:
                yield "does not say its target"
    said = ", ".join(line.text for line in lines)
    if said and not re.search(rf"(Lines?|Colours?|right)[a-z :]* {re.escape(said)}", panel["description"]):
        yield f"does not say {said}"


def _axes(it: Dashboard) -> Iterator[tuple[Json, str]]:
    """Each panel that has thresholds, and each series of it that has its own."""
    for panel in it.shown:
        if panel["type"] in ("stat", "timeseries"):
            yield panel, ""
            for override in panel["fieldConfig"]["overrides"]:
                if {"thresholds", "custom.axisPlacement"} & {one["id"] for one in override["properties"]}:
                    names = [name for name in PANELS[it.uid][panel["id"]] if takes(override["matcher"], name)]
                    yield from ((panel, name) for name in names)


def _sourced(line: Line) -> Iterator[str]:
    if line.source in ALERTS:
        alert = ALERTS[line.source]
        compared = [
            float(number) for number in re.findall(r"[<>]=? (?:on \(slo\) group_left \(\) )?([\d.]+)", alert["expr"])
        ]
        if line.value not in compared or f"({alert['labels']['severity']}" not in line.text:
            yield f"{line.source} does not compare {line.value:g}, or is no {line.text}"
    elif line.source in SHIPPED.by_name:
        target = SHIPPED.by_name[line.source].target
        if target is None or (target.value, target.number) != (line.value, line.text):
            yield f"{line.value:g} is not the target of {line.source}"
    elif line.source and str(_scraped(line.source)).removesuffix("s") != f"{line.value:g}":
        yield f"{line.source} is not {line.value:g}"
    if line.text:
        number, unit = re.match(r"([\d. ]+\d|\d)\s?(\w+|%)?", line.text).groups()  # type: ignore[union-attr]
        if abs(float(number.replace(" ", "")) * _SCALE.get(unit, 1) - line.value) > 1e-12:
            yield f"{line.text} is not {line.value:g}"


@cache
def _scraped(key: str) -> Any:
    config = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text("utf-8"))
    return next(job for job in config["scrape_configs"] if job["job_name"] == "otel-collector-derived")[key]


def axes_fit(it: Dashboard) -> Iterator[str]:
    """Its lines are seen when nothing happens; zero is the bottom, but not of a logarithm."""
    for panel in it.shown:
        if panel["type"] != "timeseries":
            continue
        for name in ("", *PANELS[it.uid][panel["id"]]):
            shown = field(panel, name)
            lines = LINES[it.uid].get((panel["id"], name)) or LINES[it.uid].get((panel["id"], ""), ())
            right = {"auto": False, "right": True}[shown["custom.axisPlacement"]]
            lines = LINES[it.uid].get((panel["id"], name), ()) if right else lines
            logarithm = {"linear": False, "log": True}[shown["custom.scaleDistribution"]["type"]]
            where = f"{panel['id']} {name}".strip()
            if logarithm != (panel["id"] in (1, 5, 7, 8, 31, 32) and it.uid == "healthcare-backend" and not right):
                yield f"{where}: another kind of axis"
            if name == "" and panel["description"].count("logarithmic axis") != logarithm:
                yield f"{where}: the description tells of another kind of axis"
            if logarithm:
                yield from _logarithmic(where, shown)
            else:
                yield from _linear(where, shown, lines, (it.uid, panel["id"]))


def _linear(where: str, shown: Json, lines: tuple[Line, ...], panel: tuple[str, int]) -> Iterator[str]:
    """Values may go beyond a soft end."""
    if shown.get("min") != (-1 if panel == ("healthcare-backend", 21) else 0):
        yield f"{where}: the axis does not begin at 0, or a budget's at -100 %"
    if shown.get("max") != (1 if shown["unit"] == "percentunit" else None):
        yield f"{where}: a share ends at 1, and nothing else does"
    soft: float | None = shown.get("custom.axisSoftMax")
    if panel in SMALL:
        if soft is None or not 0 < soft <= (lines[0].value / 10 if lines else 1):
            yield f"{where}: the axis does not begin small"
    elif shown.get("max") is None and bool(lines) != (soft is not None):
        yield f"{where}: the axis ends below its line, or where another's would"
    elif soft is not None and not any(1.05 <= soft / line.value <= 1.25 for line in lines):
        yield f"{where}: the axis ends far from its line"


def _logarithmic(where: str, shown: Json) -> Iterator[str]:
    """Grafana heeds no soft end of a logarithm; a hard one at the last bucket hides nothing, as quantiles end there."""
    if "noValue" in shown or "min" in shown or shown["custom.scaleDistribution"].get("log") != 10:
        yield f"{where}: a logarithm has no zero, and its base is 10"
    lines = shown["custom.thresholdsStyle"]["mode"] != "off"
    if "custom.axisSoftMax" in shown or shown.get("max") != (SHIPPED.buckets[-1] if lines else None):
        yield f"{where}: the axis does not end at the last bucket"


def overrides_are_of_series(it: Dashboard) -> Iterator[str]:
    """Each is about a series that can be there, and its colour is no line's and no other series'."""
    for panel in it.shown:
        config = panel.get("fieldConfig", {"overrides": []})
        names = {*PANELS[it.uid].get(panel["id"], {}), *_possible(panel)}
        for override in config["overrides"]:
            known = override["matcher"]["id"] in ("byName", "byRegexp")
            if not known or not any(takes(override["matcher"], name) for name in names):
                yield f"{panel['id']}: no series is {override['matcher']['options']}"
            yield from (f"{panel['id']}: {problem}" for one in override["properties"] for problem in _overridden(one))
        fixed = {name: field(panel, name)["color"].get("fixedColor") for name in names if panel["type"] == "timeseries"}
        for name, colour in fixed.items():
            lines = [step["color"] for step in field(panel, name)["thresholds"]["steps"][1:]]
            if colour in lines:
                yield f"{panel['id']} {name} looks like a line of its own"
        colours = Counter(colour for colour in fixed.values() if colour)
        yield from (f"{panel['id']}: {number} series are {one}" for one, number in colours.items() if number > 1)
        if panel["type"] == "timeseries":
            yield from _plainly_named(it, panel, fixed)


def _overridden(one: Json) -> Iterator[str]:
    if one["id"] not in OVERRIDDEN:
        yield f"{one['id']} is overridden"
    if one["id"] == "color":
        if one["value"].keys() != {"mode", "fixedColor"} or one["value"]["mode"] != "fixed":
            yield f"{one['value']} is no fixed colour"
        elif not COLOUR.fullmatch(one["value"]["fixedColor"]):
            yield f"{one['value']['fixedColor']} is no colour"


def _plainly_named(it: Dashboard, panel: Json, fixed: dict[str, Any]) -> Iterator[str]:
    """What has one name only has a colour of its own; so has, where it is known, what has many."""
    if it.uid == "healthcare-backend" and (it.uid, panel["id"]) not in ANY_COLOUR:
        known = {name for name in PANELS[it.uid][panel["id"]] if ": " not in name} | _of_closed_sets(panel)
        yield from (f"{panel['id']} {name} has no colour" for name in sorted(known) if not fixed.get(name))
    elif panel["id"] == 7:
        yield from (f"7 {name} has no colour" for name in sorted(_of_closed_sets(panel)) if not fixed.get(name))
    for target in panel["targets"]:
        name = target["legendFormat"]
        if "{{" not in name and not fixed.get(name) and (it.uid, panel["id"]) != ("healthcare-backend", 32):
            yield f"{panel['id']} {name} changes its colour with its neighbours"
        alerted = as_alerted(panel, target) and name != "fast path"
        if alerted != (field(panel, name).get("custom.lineStyle", {}).get("fill") == "dash"):
            yield f"{panel['id']} {name}: what alerts compare is dashed, and nothing else"
    modes = {name: field(panel, name)["custom.stacking"]["mode"] for name in PANELS[it.uid][panel["id"]]}
    if not {"none", "normal"} >= {*modes.values(), panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"]}:
        yield f"{panel['id']} is stacked in another way"
    stacked = {name for name, mode in modes.items() if mode == "normal"}
    if stacked != _STACKED.get((it.uid, panel["id"]), set()):
        yield f"{panel['id']}: stacked are {sorted(stacked)}"


_STACKED = {
    ("healthcare-backend", 3): {"cache: timeout", "database: connection"},
    ("healthcare-backend", 4): {"faq", "price", "scheduling", "complex", "none"},
    ("healthcare-backend", 33): set(PANELS["healthcare-backend"][33]),
}


def _possible(panel: Json) -> set[str]:
    """What a legend with one label can read, by the contract's closed sets."""
    found = set()
    for target in panel.get("targets", []):
        for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
            values = {value for metric in SHIPPED.metrics for value in (*metric.labels.get(label, ()), "other")}
            found |= {target["legendFormat"].replace(f"{{{{{label}}}}}", value) for value in values}
    return found


def _of_closed_sets(panel: Json) -> set[str]:
    """The names of all series by lane or status that there can be."""
    found = set()
    for target in panel["targets"]:
        if match := re.search(r"\{\{(lane|status)\}\}", target["legendFormat"]):
            [metric] = {SHIPPED.samples[name].name for name in re.findall(r"\w+(?=\{job)", target["expr"])}
            values = (*SHIPPED.by_name[metric].labels[match[1]], "other")
            found |= {target["legendFormat"].replace(match[0], value) for value in values}
    return found


def as_alerted(panel: Json, target: Json) -> bool:
    """Whether the line is what an alert compares."""
    return panel["type"] == "stat" or "as alerted" in target["legendFormat"] or target["legendFormat"] == "fast path"
