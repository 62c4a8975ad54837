"""The rules of a drill are the shipped ones but for their durations, and what shows them is configured as shipped."""

import re
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from tools.base.files import ROOT
from tools.drill import shortened
from tools.drill.shortened import SHORTEST_SECONDS, shorter
from tools.model.rules import rule_name, rules_of, shipped_rules
from tools.stack.ports import Ports
from tools.stack.programs import ensure
from tools.stack.rendered import render_alertmanager

SHIPPED = shipped_rules()
COPIES = shortened.rules()
PAIRS = [
    pytest.param(rule, copy, id=f"{path}-{rule_name(rule)}-{number}")
    for path, document in SHIPPED.items()
    for number, (rule, copy) in enumerate(zip(rules_of(document), rules_of(COPIES[path]), strict=True))
]
DURATION = re.compile(r"(?<=\[)(?:\d+(?:ms|[smhdwy]))+(?=[\]:])|(?<=offset )\S+?(?=[\s)]|$)")


def printed(expression: str) -> str:
    return str(promql.parse(expression))


def durations(expression: str) -> list[float]:
    return [promql.parse_duration(text).total_seconds() for text in DURATION.findall(printed(expression))]


@pytest.mark.parametrize(("rule", "copy"), PAIRS)
def test_a_rule_of_the_copy_differs_from_the_shipped_one_in_its_durations_only(
    rule: dict[str, Any], copy: dict[str, Any]
) -> None:
    waits = {"for", "expr"}
    assert {key: value for key, value in rule.items() if key not in waits} == {
        key: value for key, value in copy.items() if key not in waits
    }
    without = [DURATION.sub("…", printed(one["expr"])) for one in (rule, copy)]
    assert without[0] == without[1]
    assert durations(copy["expr"]) == [shorter(seconds) for seconds in durations(rule["expr"])]
    assert ("for" in rule) == ("for" in copy)
    if "for" in rule:
        assert promql.parse_duration(copy["for"]).total_seconds() == shorter(
            promql.parse_duration(rule["for"]).total_seconds()
        )


def test_groups_keep_their_names_and_their_intervals_are_those_of_the_ranges() -> None:
    for path, document in SHIPPED.items():
        for group, copy in zip(document["groups"], COPIES[path]["groups"], strict=True):
            assert copy["name"] == group["name"]
            assert ("interval" in copy) == ("interval" in group)
            if "interval" in group:
                assert copy["interval"] == shortened.shorter_duration(group["interval"])


def all_durations() -> Iterator[float]:
    for document in SHIPPED.values():
        for rule in rules_of(document):
            yield from durations(rule["expr"])
            if "for" in rule:
                yield promql.parse_duration(rule["for"]).total_seconds()


def test_a_longer_duration_stays_longer_and_none_is_below_four_scrapes() -> None:
    ordered = sorted(set(all_durations()))
    assert ordered[:2] == [60, 120]
    assert ordered[-1] == 30 * 86_400
    short = [shorter(seconds) for seconds in ordered]
    assert short[:2] == [SHORTEST_SECONDS] * 2 == [20, 20]
    assert short[1:] == sorted(set(short))
    assert all(seconds % 5 == 0 for seconds in short)


def test_offsets_and_subqueries_are_shortened_too() -> None:
    text = "max_over_time(rate(x[5m] offset 10m)[1h:1m] offset 15m) unless y offset 2m"
    assert printed(shortened.expression(text)) == printed(
        "max_over_time(rate(x[25s] offset 30s)[50s:1m] offset 35s) unless y offset 20s"
    )


def test_the_shipped_rules_are_not_touched() -> None:
    before = deepcopy(SHIPPED)
    shortened.rules()
    assert shipped_rules() == before == SHIPPED


def test_promtool_accepts_the_copies(tmp_path: Path) -> None:
    paths = shortened.write_rules(tmp_path / "rules")
    run = subprocess.run([ensure("promtool"), "check", "rules", *paths], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    found = [int(number) for number in re.findall(r"SUCCESS: (\d+) rules found", run.stdout)]
    assert found == [len(list(rules_of(document))) for document in SHIPPED.values()]


def test_alertmanager_of_a_drill_waits_shorter_and_notifies_at_any_hour_and_is_the_same_else(tmp_path: Path) -> None:
    target = tmp_path / "alertmanager.yml"
    render_alertmanager(ROOT / "alertmanager" / "alertmanager.yml", target, Ports(), None)
    before = yaml.safe_load(target.read_text())
    config = deepcopy(before)
    shortened.notify_quickly(config)
    target.write_text(yaml.safe_dump(config))
    run = subprocess.run([ensure("amtool"), "check-config", target], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert {key: value for key, value in config.items() if key != "route"} == {
        key: value for key, value in before.items() if key != "route"
    }
    assert without_waits(config["route"]) == without_waits(before["route"])
    assert "clinic-hours" not in yaml.safe_dump(config["route"])


def without_waits(route: dict[str, Any]) -> dict[str, Any]:
    kept = {
        key: value
        for key, value in route.items()
        if key not in ("group_wait", "group_interval", "active_time_intervals", "repeat_interval")
    }
    return kept | {"routes": [without_waits(child) for child in route.get("routes", ())]}
