"""What every dashboard must keep, read from its file alone: each rule yields what is wrong."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any
from urllib.parse import unquote

import yaml

from tests.grafana.dashboards import Dashboard, Json, field, shipped
from tests.grafana.expected import PANELS
from tests.grafana.promised import (
    ABOUT,
    ALERTS,
    ANY_COLOUR,
    BELOW,
    BELOW_THE_FIRST,
    COLOUR,
    COLUMNS,
    LEGENDS,
    LINES,
    LISTED,
    NORMAL,
    NOT_NAMES,
    OVERRIDDEN,
    PAGES,
    RULES,
    SCHEMA,
    SMALL,
    SOURCE,
    TITLES,
    TYPES,
    UNITS,
    UP_AND_DOWN,
    VARIABLES,
    Line,
)
from tools.base.files import ROOT
from tools.model.expected import SHIPPED
from tools.show.preview.dashboard import takes

_SCALE = {"ms": 1e-3, "%": 1e-2, "MiB": 2**20}


def is_classic_in_normal_form(it: Dashboard) -> Iterator[str]:
    """Grafana loads no other model from a file, and git shows what changed."""
    if it.data.get("schemaVersion") != SCHEMA:
        yield "another schema than the Classic one"
    if found := NOT_NAMES & it.data.keys():
        yield f"{found} belong to exports and other models"
    if it.text != json.dumps(it.data, sort_keys=True, indent=2, ensure_ascii=False) + "\n":
        yield "keys are not sorted, or not indented by 2"
    if (it.data["time"], it.data["refresh"], it.data["graphTooltip"]) != ({"from": "now-6h", "to": "now"}, "30s", 1):
        yield "another time range, refresh or tooltip"
    if it.data["title"] != PAGES[it.uid] or not it.data["description"] or not it.data["editable"]:
        yield "another title, no description, or it cannot be tried out"


def ids_are_unique(it: Dashboard) -> Iterator[str]:
    """Links, exports and alerts name panels by them."""
    ids = Counter(panel["id"] for panel in it.panels)
    yield from (f"{number} panels have the id {one}" for one, number in ids.items() if number > 1)
    for panel in it.shown:
        letters = [target["refId"] for target in panel.get("targets", [])]
        if letters != [chr(ord("A") + number) for number in range(len(letters))]:
            yield f"{panel['id']}: queries are {letters}"


def has_the_documented_panels(it: Dashboard) -> Iterator[str]:
    """The eight of the documentation, under its titles, in its order from left to right and down."""
    places = [(panel["gridPos"]["y"], panel["gridPos"]["x"], panel["title"]) for panel in it.panels]
    if places != sorted(places):
        yield "the file's order is not the one on the page"
    documented = [panel["title"] for panel in it.panels if panel["id"] in range(1, 9)]
    if it.uid == "healthcare-backend" and documented != TITLES:
        yield "documented panels are missing, or in another order"
    for panel in it.panels:
        if not panel["title"] or panel["type"] not in TYPES:
            yield f"{panel['id']} has no title, or is of another type"
        if panel["type"] == "row" and (panel["collapsed"] or panel["panels"]):
            yield f"{panel['title']} hides its panels"
    if len({panel["title"] for panel in it.panels}) < len(it.panels):
        yield "a title stands twice"


def fills_the_grid(it: Dashboard) -> Iterator[str]:
    """No gap, no overlap; graphs high enough to be read."""
    covered: Counter[tuple[int, int]] = Counter()
    for panel in it.panels:
        at = panel["gridPos"]
        covered.update((at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"]))
        if panel["type"] in ("timeseries", "heatmap") and at["h"] < 8:
            yield f"{panel['id']} is too low"
    height = max(y for _, y in covered) + 1
    wanted = {(x, y): 1 for x in range(COLUMNS) for y in range(height)}
    if covered != wanted:
        yield f"gaps or overlaps at {sorted(covered.keys() ^ wanted.keys())[:3]}"


def asks_the_chosen_source(it: Dashboard) -> Iterator[str]:
    """One variable chooses the data source of everything."""
    asking = [(panel["title"], part) for panel, target in it.targets for part in (panel, target)]
    asking += [(one["name"], one) for one in (*it.annotations, *it.variables) if one.get("type") != "datasource"]
    yield from (f"{name} has a data source of its own" for name, one in asking if one.get("datasource") != SOURCE)
    for one in it.annotations:
        if (one["enable"], one["hide"], one["step"]) != (True, False, "15s") or not COLOUR.fullmatch(one["iconColor"]):
            yield f"{one['name']} is not seen"
    for panel in it.shown:
        if panel["type"] == "alertlist" and not LISTED.items() <= panel["options"].items():
            yield f"{panel['id']} lists other alerts"


def offers_the_variables(it: Dashboard) -> Iterator[str]:
    """Data source, job and lane, as far as queries have them."""
    used = {name for _, target in it.targets for name in re.findall(r"\$(job|lane)\b", target["expr"])}
    wanted = ["datasource", *(name for name in ("job", "lane") if name in used)]
    if [one["name"] for one in it.variables] != wanted:
        yield f"variables are not {wanted}"
    for one in it.variables:
        if not VARIABLES.get(one["name"], {}).items() <= one.items() or not one["label"] or one["hide"]:
            yield f"the variable {one['name']} is set otherwise"


def looks_over_the_right_windows(it: Dashboard) -> Iterator[str]:
    """Graphs over Grafana's interval; stats and as-alerted lines over exactly what their alerts look at."""
    for panel, target in it.targets:
        where, expression = f"{panel['id']} {target['refId']}", target["expr"]
        alerted = _as_alerted(panel, target)
        windows = set(re.findall(r"\[([^]]+)\]", expression))
        if not alerted and windows - {"$__rate_interval"}:
            yield f"{where} looks over {windows}"
        if alerted:
            compared = _plain("\n".join(ALERTS[name]["expr"] for name in _named(panel) if name in ALERTS))
            minutes = re.findall(r"\[(\d+)m\]|rate(\d+)m", expression)
            if any(f"{''.join(one)} minutes" not in panel["description"] for one in minutes):
                yield f"{where}: over how many minutes?"
            for selected in re.findall(r"[a-z_]\w+(?:\{[^}]*\})?\[[^]]+\]", _plain(expression)):
                if selected not in compared:
                    yield f"{where}: no alert compares {selected}"
        for recorded in re.findall(r"\b(?:job|slo):[\w:]+", expression):
            if recorded not in {rule.get("record") for rule in RULES}:
                yield f"{where}: nobody records {recorded}"


def _as_alerted(panel: Json, target: Json) -> bool:
    return panel["type"] == "stat" or "as alerted" in target["legendFormat"] or target["legendFormat"] == "fast path"


def _plain(expression: str) -> str:
    """Without the job that panels choose, and without layout."""
    without = re.sub(r'job=~"\$job",?', "", expression).replace("{}", "")
    return " ".join(without.split())


def _named(panel: Json) -> list[str]:
    return re.findall(r"docs/runbooks/(\w+)\.md", panel["description"])


def asks_for_now_or_for_a_range(it: Dashboard) -> Iterator[str]:
    """A stat is now: the newest value of a range may be six hours old. It says so where there is none."""
    for panel, target in it.targets:
        now = panel["type"] == "stat"
        if (target.get("instant", False), target["range"]) != (now, not now):
            yield f"{panel['id']} {target['refId']} is asked otherwise"
        if now and not (panel["fieldConfig"]["defaults"].get("noValue") and panel["options"]["graphMode"] == "none"):
            yield f"{panel['id']} does not say that there is nothing, or draws a graph of one value"
        if now and panel["options"]["reduceOptions"] != {"calcs": ["lastNotNull"], "fields": "", "values": False}:
            yield f"{panel['id']} does not show the value"
        if now:
            several = len(PANELS[it.uid][panel["id"]]) > 1
            shown = (panel["options"]["textMode"], panel["options"]["colorMode"])
            if shown != ("value_and_name" if several else "auto", "background"):
                yield f"{panel['id']} does not name its values, or is not coloured"
            if panel["fieldConfig"]["defaults"]["mappings"] != (UP_AND_DOWN if panel["id"] == 42 else []):
                yield f"{panel['id']} has other texts"
        if (target.get("format") == "heatmap") != (panel["type"] == "heatmap"):
            yield f"{panel['id']}: only a heatmap takes buckets"
        if panel["type"] == "heatmap" and panel["options"]["calculate"]:
            yield f"{panel['id']} makes buckets of buckets"


def exemplars_come_from_raw_buckets(it: Dashboard) -> Iterator[str]:
    """Where they are promised, and only there; what is recorded or counted has none that means something."""
    for panel in it.shown:
        diamonds = [target for target in panel.get("targets", []) if target.get("exemplar")]
        quantiles = [target for target in panel.get("targets", []) if _shows_a_spike(panel, target)]
        if diamonds != quantiles:
            yield f"{panel['id']} has diamonds at {[target['refId'] for target in diamonds]}"
        if diamonds and panel["id"] in (1, 30, 31, 32) and "click opens the trace" not in panel["description"]:
            yield f"{panel['id']} does not say what the diamonds are"


def _shows_a_spike(panel: Json, target: Json) -> bool:
    quantile = "histogram_quantile(0.95" in target["expr"] and not _as_alerted(panel, target)
    return "_bucket" in target["expr"] and (quantile or panel["type"] == "heatmap")


def is_described(it: Dashboard) -> Iterator[str]:
    """What it shows in a sentence; alerts by their runbooks."""
    for panel in it.shown:
        text, *further = panel["description"].split("\n\n")
        if not re.fullmatch(r"[A-Zmw].{24,}[.?]", text) or len(further) > 1:
            yield f"{panel['id']} is not described"
        for name in _named(panel):
            if name not in ALERTS or not (ROOT / "docs" / "runbooks" / f"{name}.md").is_file():
                yield f"{panel['id']} names {name}, which is no alert with a runbook"
        for path in re.findall(r"\b(?:docs|prometheus)/[\w/.-]+\w", panel["description"]):
            if not (ROOT / path).is_file():
                yield f"{panel['id']} names {path}"
        if panel["description"].count("docs/runbooks") and "Alerts and runbooks: docs/" not in panel["description"]:
            yield f"{panel['id']} does not say what its links are"


def alerts_have_their_panel(it: Dashboard) -> Iterator[str]:
    """The panel that an alert leads to names it; one that leads to none is named by one that shows what it is about."""
    panels = {str(panel["id"]): panel for panel in it.shown}
    for panel in it.shown:
        of_lines = {line.source for (one, _), lines in LINES[it.uid].items() for line in lines if one == panel["id"]}
        missing = {*ABOUT[it.uid].get(panel["id"], "").split(), *(of_lines & ALERTS.keys())} - set(_named(panel))
        yield from (f"{panel['id']} does not name {one}" for one in sorted(missing))
    for name, alert in ALERTS.items():
        uid, _, rest = alert["annotations"]["dashboard_url"].removeprefix("/d/").partition("?viewPanel=")
        if uid == it.uid:
            for one in re.findall(r"\d+", re.sub(r"\{\{ if .*? \}\}", "", rest)):
                if name not in _named(panels.get(one, {"description": ""})):
                    yield f"{name} leads to panel {one}, which does not name it"
        if not rest and name not in _everywhere(it):
            yield f"no panel names {name}"


def _everywhere(it: Dashboard) -> set[str]:
    """All alerts that panels name, of this version of the dashboard and of the others."""
    others = _named_by_shipped()
    return {name for panel in it.shown for name in _named(panel)}.union(
        *(others[uid] for uid in others if uid != it.uid)
    )


@cache
def _named_by_shipped() -> dict[str, set[str]]:
    return {one.uid: {name for panel in one.shown for name in _named(panel)} for one in shipped()}


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


def units_are_grafanas(it: Dashboard) -> Iterator[str]:
    """Of its list, or with a text after the number."""
    for panel in it.shown:
        config = panel.get("fieldConfig", {"defaults": {}, "overrides": []})
        found = [config["defaults"]["unit"]] if "unit" in config["defaults"] else []
        found += [one["value"] for over in config["overrides"] for one in over["properties"] if one["id"] == "unit"]
        yield from (f"{panel['id']}: {one}" for one in found if one not in UNITS and not re.match(r"suffix:\S", one))


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
            if logarithm != (panel["id"] in (1, 5, 7, 31, 32) and it.uid == "healthcare-backend" and not right):
                yield f"{where}: another kind of axis"
            if name == "" and panel["description"].count("logarithmic axis") != logarithm:
                yield f"{where}: the description tells of another kind of axis"
            if logarithm:
                yield from _logarithmic(where, shown)
            else:
                yield from _linear(where, shown, lines, (it.uid, panel["id"]))


def _linear(where: str, shown: Json, lines: tuple[Line, ...], panel: tuple[str, int]) -> Iterator[str]:
    """Values may go beyond a soft end."""
    if shown.get("min") != (None if panel == ("healthcare-backend", 21) else 0):
        yield f"{where}: the axis does not begin at 0"
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
        alerted = _as_alerted(panel, target) and name != "fast path"
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


def legends_can_be_read(it: Dashboard) -> Iterator[str]:
    """Every graph has one: in lines below it; at its right where names are long, and nobody knows how many come."""
    for panel in it.shown:
        if panel["type"] == "timeseries":
            legend = panel["options"]["legend"]
            if not legend["showLegend"] or not all(target["legendFormat"] for target in panel["targets"]):
                yield f"{panel['id']} has no legend"
            if {"showLegend": True, **LEGENDS.get((it.uid, panel["id"]), BELOW)} != legend:
                yield f"{panel['id']}: its legend is elsewhere, or takes the graph's room"
            defaults = panel["fieldConfig"]["defaults"]
            if not NORMAL.items() <= defaults["custom"].items() or defaults["color"] != {"mode": "palette-classic"}:
                yield f"{panel['id']} joins what gaps divide, or draws no lines"


def links_resolve(it: Dashboard) -> Iterator[str]:
    """To a dashboard that ships, the list of alerts, or traces of a family that there is in a provisioned store."""
    links = [*it.data["links"], *(link for panel in it.shown for link in _links(panel))]
    if [link["title"] for link in links] != _LINKS[it.uid]:
        yield f"the links are {[link['title'] for link in links]}"
    for link in links:
        yield from (f"{link['title']}: {problem}" for problem in _unresolved(link["url"]))
    if any(link["type"] != "link" or not link["keepTime"] for link in it.data["links"]):
        yield "a link that is none, or that loses the chosen time"


_LINKS = {
    "healthcare-backend": [
        *("OpenTelemetry Collector", "Alerts", "Traces"),
        *("Traces slower than 500 ms", "Traces with errors", "Traces slower than 500 ms"),
    ],
    "otel-collector": ["Healthcare Backend"],
}


def _links(panel: Json) -> list[Json]:
    return list(panel.get("fieldConfig", {"defaults": {}})["defaults"].get("links", []))


def _unresolved(url: str) -> Iterator[str]:
    path, _, query = url.partition("?")
    if path == "/explore":
        panes = dict(part.split("=", 1) for part in query.split("&"))
        for pane in json.loads(unquote(panes["panes"])).values():
            if pane["datasource"] not in _sources():
                yield f"no data source {pane['datasource']}"
            if pane["range"] != {"from": "${__from}", "to": "${__to}"}:
                yield "the chosen time is lost"
            for one in pane["queries"]:
                family = re.match(r'\{span\.family="([a-z.]+)"( && (duration>500ms|status=error))?\}$', one["query"])
                if one["queryType"] != "traceql" or not family or family[1] not in SHIPPED.families:
                    yield f"no trace is {one['query']}"
    elif path != "/alerting/list" and path not in {f"/d/{one.uid}" for one in shipped()}:
        yield f"nothing is at {path}"


@cache
def _sources() -> set[str]:
    file = ROOT / "grafana" / "provisioning" / "datasources" / "datasources.yaml"
    return {one["uid"] for one in yaml.safe_load(file.read_text("utf-8"))["datasources"]}


Rule = Callable[[Dashboard], Iterator[str]]
STRUCTURE: tuple[Rule, ...] = (
    is_classic_in_normal_form,
    ids_are_unique,
    has_the_documented_panels,
    fills_the_grid,
    asks_the_chosen_source,
    offers_the_variables,
    looks_over_the_right_windows,
    asks_for_now_or_for_a_range,
    exemplars_come_from_raw_buckets,
    is_described,
    alerts_have_their_panel,
    lines_are_the_alerts,
    units_are_grafanas,
    axes_fit,
    overrides_are_of_series,
    legends_can_be_read,
    links_resolve,
)
