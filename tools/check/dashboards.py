"""What every dashboard must keep, read from its file alone: each rule yields what is wrong."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache

from tools.base.files import ROOT
from tools.check.dashboard_promises import (
    ABOUT,
    ALERTS,
    BELOW,
    COLOUR,
    COLUMNS,
    LEGENDS,
    LIFE,
    LINES,
    LISTED,
    LISTS,
    MARKS,
    NORMAL,
    NOT_NAMES,
    PAGES,
    RULES,
    RUNBOOKS,
    SCHEMA,
    SOURCE,
    TEXTS,
    TILES,
    TITLES,
    TYPES,
    UNITS,
    UNKNOWN,
    VARIABLES,
)
from tools.check.dashboard_series import as_alerted, axes_fit, lines_are_the_alerts, overrides_are_of_series
from tools.check.dashboard_values import PANELS
from tools.model.dashboard import FOLDER, Dashboard, Json, shipped_dashboards


def is_classic_in_normal_form(it: Dashboard) -> Iterator[str]:
    """Grafana loads no other model from a file, and git shows what changed."""
    if it.data.get("schemaVersion") != SCHEMA:
        yield "another schema than the Classic one"
    if found := NOT_NAMES & it.data.keys():
        yield f"{found} belong to exports and other models"
    if it.text != json.dumps(it.data, sort_keys=True, indent=2, ensure_ascii=False) + "\n":
        yield "keys are not sorted, or not indented by 2"
    if (it.data["time"], it.data["refresh"], it.data["graphTooltip"]) != ({"from": "now-1h", "to": "now"}, "30s", 1):
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


def says_what_follows_the_lane(it: Dashboard) -> Iterator[str]:
    """Most panels do not, and nobody could know."""
    for panel in it.shown:
        follows = any("$lane" in target.get("expr", "") for target in panel.get("targets", []))
        if panel["title"].endswith(" · lane: $lane") != follows:
            yield f"{panel['id']}: does it follow the lane?"


def marks_survive_every_range(it: Dashboard) -> Iterator[str]:
    """A step may be hours, and what is marked a minute; one region an incident and severity."""
    for one in it.annotations:
        ranges = re.findall(r"(\w+)\([^()]*\[\$__interval\]\)", one["expr"])
        if ranges not in (["max_over_time"], ["last_over_time"], ["min_over_time"]) or "offset 1m" in one["expr"]:
            yield f"{one['name']} is lost between two steps"
        if "ALERTS" in one["expr"] and not one["expr"].startswith("count by (severity) ("):
            yield f"{one['name']} lays one region over another"
    marked = [(re.findall(r'severity="(\w+)"', one["expr"]), one["iconColor"]) for one in it.annotations]
    if [(severity, colour) for (severity,), colour in filter(lambda one: one[0], marked)] != [*MARKS.items()][::-1]:
        yield "critical alerts and warnings are not told apart, or warnings lie over critical ones"
    if {colour for severity, colour in marked if not severity} & set(MARKS.values()):
        yield "what is no alert is marked as one"


def asks_the_chosen_source(it: Dashboard) -> Iterator[str]:
    """One variable chooses the data source of everything."""
    asking = [(panel["title"], part) for panel, target in it.targets for part in (panel, target)]
    asking += [(one["name"], one) for one in (*it.annotations, *it.variables) if one.get("type") != "datasource"]
    yield from (f"{name} has a data source of its own" for name, one in asking if one.get("datasource") != SOURCE)
    for one in it.annotations:
        if (one["enable"], one["hide"], one["step"]) != (True, True, "60s") or not COLOUR.fullmatch(one["iconColor"]):
            yield f"{one['name']} is not seen"
    lists = [panel for panel in it.shown if panel["type"] == "alertlist"]
    if {one["id"]: one["options"]["alertInstanceLabelFilter"] for one in lists} != LISTS[it.uid]:
        yield "the lists of alerts take others, or others first"
    if not all(LISTED.items() <= one["options"].items() for one in lists):
        yield "a list takes alerts that do not fire"


def offers_the_variables(it: Dashboard) -> Iterator[str]:
    """Data source, job and lane, as far as queries have them."""
    used = {name for _, target in it.targets for name in re.findall(r"\$(job|lane)\b", target["expr"])}
    wanted = ["datasource", *(name for name in ("job", "lane") if name in used)]
    if [one["name"] for one in it.variables] != wanted:
        yield f"variables are not {wanted}"
    for one in it.variables:
        if not VARIABLES.get(one["name"], {}).items() <= one.items() or not one["label"]:
            yield f"the variable {one['name']} is set otherwise"


def looks_over_the_right_windows(it: Dashboard) -> Iterator[str]:
    """Graphs over Grafana's interval; stats and as-alerted lines over exactly what their alerts look at."""
    for panel, target in it.targets:
        where, expression = f"{panel['id']} {target['refId']}", target["expr"]
        alerted = as_alerted(panel, target)
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


def _plain(expression: str) -> str:
    """Without the job that panels choose, and without layout."""
    without = re.sub(r'job=~"\$job",?', "", expression).replace("{}", "")
    return " ".join(without.split())


def _named(panel: Json) -> list[str]:
    return re.findall(r"docs/runbooks/(\w+)\.md", panel["description"])


def names_of_values_have_room(it: Dashboard) -> Iterator[str]:
    """At a width of 1280 pixels a column has 50, a row 38, a letter 8; tiles beside each other share the panel's."""
    for panel in it.shown:
        names = PANELS[it.uid].get(panel["id"], {})
        if panel["type"] != "stat" or len(names) < 2:
            continue
        width, height = panel["gridPos"]["w"] * 50, panel["gridPos"]["h"] * 38
        beside = panel["options"]["orientation"] != "horizontal" and width > height
        if max(map(len, names)) * 8 > width / (len(names) if beside else 1):
            yield f"{panel['id']} cuts the names of its values"


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
            if panel["fieldConfig"]["defaults"]["mappings"] != [*TEXTS.get((it.uid, panel["id"]), []), UNKNOWN]:
                yield f"{panel['id']} has other texts"
        if (target.get("format") == "heatmap") != (panel["type"] == "heatmap"):
            yield f"{panel['id']}: only a heatmap takes buckets"
        if panel["type"] == "heatmap" and panel["options"]["calculate"]:
            yield f"{panel['id']} makes buckets of buckets"


def is_grey_when_nothing_arrives(it: Dashboard) -> Iterator[str]:
    """What rates look back on is still there when nothing comes any more."""
    for panel, target in it.targets:
        if panel["id"] in TILES[it.uid] and not target["expr"].endswith(f" and on (job) {LIFE}"):
            yield f"{panel['id']} shows what was, though no telemetry arrives"
    if TILES[it.uid] and it.shown[0]["title"] != "Telemetry":
        yield "the first tile does not tell whether telemetry arrives"


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
    quantile = "histogram_quantile(0.95" in target["expr"] and not as_alerted(panel, target)
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
        links = re.findall(r"\[(\w+)\]\((.*?)\)", panel["description"])
        if links != [(name, f"{RUNBOOKS}{name}.md") for name in _named(panel)]:
            yield f"{panel['id']} links a runbook elsewhere"
        if links and "Alerts and runbooks: [" not in panel["description"]:
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
    return {one.uid: {name for panel in one.shown for name in _named(panel)} for one in shipped_dashboards()}


def units_are_grafanas(it: Dashboard) -> Iterator[str]:
    """Of its list, or with a text after the number."""
    for panel in it.shown:
        config = panel.get("fieldConfig", {"defaults": {}, "overrides": []})
        found = [config["defaults"]["unit"]] if "unit" in config["defaults"] else []
        found += [one["value"] for over in config["overrides"] for one in over["properties"] if one["id"] == "unit"]
        yield from (f"{panel['id']}: {one}" for one in found if one not in UNITS and not re.match(r"suffix:\S", one))


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
    """To a dashboard that ships, or the list of alerts; never to Explore, which wants a sign-in."""
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
    traces = {f"/d/trace-{one.stem}" for one in (FOLDER / "traces").glob("*.json")}
    if path != "/alerting/list" and path not in {f"/d/{one.uid}" for one in shipped_dashboards()} | traces:
        yield f"nothing is at {path}"
    if path in traces and query and query != "${__url_time_range}&${lane:queryparam}":
        yield "the chosen time or lane is lost"


Promise = Callable[[Dashboard], Iterator[str]]
PROMISES: tuple[Promise, ...] = (
    is_classic_in_normal_form,
    ids_are_unique,
    has_the_documented_panels,
    fills_the_grid,
    says_what_follows_the_lane,
    marks_survive_every_range,
    asks_the_chosen_source,
    offers_the_variables,
    looks_over_the_right_windows,
    asks_for_now_or_for_a_range,
    names_of_values_have_room,
    is_grey_when_nothing_arrives,
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


def broken_promises(path: str, text: str) -> Iterator[str]:
    """What is wrong with a dashboard's file; of a dashboard that somebody added nothing is promised."""
    dashboard = Dashboard(path.rpartition("/")[2], text)
    if dashboard.data.get("uid") not in PAGES:
        return
    for promise in PROMISES:
        try:
            yield from (f"{promise.__name__}: {problem}" for problem in promise(dashboard))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:  # it says too little, or no JSON
            yield f"{promise.__name__}: cannot be read: {type(error).__name__} {error}"
