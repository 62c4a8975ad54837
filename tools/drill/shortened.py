"""Copies of the rules and of Alertmanager's configuration with short durations. The shipped files are only read."""

from collections.abc import Iterator
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from typing import Any

import promql_parser as promql
import yaml

from tools.model.rules import groups_of, rules_of, shipped_rules

SCRAPE_SECONDS = 5  # the Collector flushes as often; more would be seen by nobody
SHORTEST_SECONDS = 4 * SCRAPE_SECONDS
_SHORTEST_AS_SHIPPED = 120
_EXPONENT = 0.26  # so that 3 days are two and a half minutes, and the order of all durations stays

GROUP_WAIT = "2s"  # two evaluations of a drill: the critical alert is there before its warning is sent
GROUP_INTERVAL = "2s"
HEARTBEAT = "4s"


def shorter(seconds: float) -> int:
    """What stands for a duration, in seconds: a longer one for a longer one, at least four scrapes, whole scrapes."""
    scaled: float = SHORTEST_SECONDS * (seconds / _SHORTEST_AS_SHIPPED) ** _EXPONENT
    return max(SHORTEST_SECONDS, SCRAPE_SECONDS * round(scaled / SCRAPE_SECONDS))


def expression(text: str) -> str:
    """PromQL with shorter ranges and offsets; nothing else differs.

    Raises:
        ValueError: it is no PromQL.
    """
    return str(promql.transform(promql.parse(text), post_visit=_shorten))


def _shorten(node: Any) -> Any:
    """A node with its own durations shortened, None for one that has none."""
    kind = type(node).__name__
    if kind == "VectorSelector" and node.offset:
        node.offset = _delta(node.offset)
    elif kind == "MatrixSelector":  # its offset is its selector's, which came before
        node.range = _delta(node.range)
    elif kind == "SubqueryExpr":
        node.range = _delta(node.range)
        if node.offset:
            node.offset = _delta(node.offset)
    else:
        return None
    return promql.parse(str(node))  # the parser takes a new node for a replacement, not one that was changed


def _delta(duration: timedelta) -> timedelta:
    sign = -1 if duration < timedelta(0) else 1
    return sign * timedelta(seconds=shorter(abs(duration).total_seconds()))


def shorter_duration(text: str) -> str:
    """A duration as rule files have it, shortened."""
    return f"{shorter(promql.parse_duration(text).total_seconds())}s"


def rules() -> dict[str, dict[str, Any]]:
    """The shipped rule files by path, with shorter `for`, `interval`, ranges and offsets."""
    copies = deepcopy(shipped_rules())
    for document in copies.values():
        for group in groups_of(document):
            _shorten_key(group, "interval")
        for rule in rules_of(document):
            _shorten_key(rule, "for")
            _shorten_key(rule, "keep_firing_for")
            rule["expr"] = expression(str(rule["expr"]))
    return copies


def _shorten_key(entry: dict[str, Any], key: str) -> None:
    if key in entry:
        entry[key] = shorter_duration(entry[key])


def write_rules(folder: Path) -> list[str]:
    """Write the copies; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, document in rules().items():
        file = folder / Path(name).name
        file.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), "utf-8")
        paths.append(str(file))
    return paths


def notify_quickly(config: dict[str, Any]) -> None:
    """Shorten Alertmanager's waits, let the heartbeat beat fast, and notify at any hour."""
    for route in _routes(config["route"]):
        for key, value in (("group_wait", GROUP_WAIT), ("group_interval", GROUP_INTERVAL)):
            if key in route:
                route[key] = value
        route.pop("active_time_intervals", None)
        route.pop("mute_time_intervals", None)
        if 'alertname="Watchdog"' in route.get("matchers", ()):
            route["repeat_interval"] = HEARTBEAT


def _routes(route: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield route
    for child in route.get("routes", ()):
        yield from _routes(child)
