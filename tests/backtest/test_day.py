"""The day that ships is played the same each time, has what rules ask for, and the faults that it says it has."""

import re
from itertools import islice

import pytest

from tools.base.files import Sources
from tools.history import day
from tools.history.backtest import run
from tools.history.choice import SHIPPED, choose
from tools.model import contract
from tools.model.consumers import RULES, consumers

# Only spans that were lost, refused or dropped are none of the day's faults.
NEVER = {"telemetry_spans_lost_total"}
FAULTS = """\
groups:
  - name: faults
    rules:
      - {alert: SlowDatabase, expr: 'sum(increase(database_query_duration_seconds_sum[1m])) > 300'}
      - {alert: Duplicates, expr: 'sum(rate(duplicate_messages_total[1m])) > 1'}
      - {alert: CollectorAway, expr: 'up{job="otel-collector"} == 0'}
      - {alert: CollectorRestarted, expr: 'resets(otelcol_receiver_accepted_spans[1m]) > 0'}
      - {alert: NoCache, expr: 'sum(rate(cache_hits_total[1m])) == 0 and sum(rate(cache_misses_total[1m])) > 0.5'}
      - {alert: Mem0, expr: 'sum(rate(mem0_writes_total{status="error"}[1m])) > 0.5'}
      - {alert: RepliesGivenUp, expr: 'sum(rate(reply_sends_total{status="dead"}[2m])) > 0'}
      - {alert: Kept, expr: 'sum(rate(deliveries_kept_total{status="ignored"}[2m])) > 0'}
      - {alert: Rejected, expr: 'sum(rate(webhook_requests_total{status="rejected"}[1m])) > 0.3'}
"""


@pytest.fixture(scope="module")
def shipped() -> Sources:
    """The working tree."""
    return Sources.of_disk()


def test_the_day_is_played_the_same_each_time(shipped: Sources) -> None:
    first, second = ("".join(islice(day.Day(shipped).text(), 900)) for _ in range(2))
    assert first == second
    assert len(first.splitlines()) > 100_000


def test_the_day_shows_every_metric_that_rules_ask_for_with_the_contracts_labels(shipped: Sources) -> None:
    rules = contract.load(shipped)
    shown: dict[str, set[str]] = {}
    for part in day.Day(shipped).text():
        for line in part.splitlines():
            name, _, rest = line.partition("{")
            if rest and name not in shown:
                shown[name] = set(re.findall(r'(\w+)="', rest))
    found = consumers(shipped)
    recorded = {one.records for one in found}
    asked = {use.sample for one in found if one.file.endswith(".yaml") for use in one.uses} - recorded - {""}
    assert asked - shown.keys() == NEVER
    for name in shown.keys() & rules.samples.keys():
        assert shown[name] == rules.own_labels(name) | {"job", "instance"}, name


def test_the_faults_are_where_the_script_says(shipped: Sources) -> None:
    past = choose(SHIPPED, shipped)
    others = [path for path in shipped.matching(*RULES) if path != "prometheus/rules/slo.yaml"]
    bare = Sources("faults", tuple(p for p in shipped.paths if p not in others), shipped.read)
    [found] = run([bare.edited("prometheus/rules/slo.yaml", FAULTS)], past)
    begun: dict[str, list[str]] = {}
    for one in found.firings:
        begun.setdefault(one.alert, []).append(past.clock(one.start))
    assert begun == {
        "SlowDatabase": ["10:30"],
        "Duplicates": ["11:50"],
        "CollectorAway": ["13:05"],
        "CollectorRestarted": ["13:05"],
        "NoCache": ["14:10"],
        "Mem0": ["16:00"],
        "RepliesGivenUp": ["17:10"],
        "Kept": ["17:40"],
        "Rejected": ["20:05"],
    }


def test_an_incident_that_repeats_begins_anew_each_time(shipped: Sources) -> None:
    played = day.Day(shipped)

    def slower(hour: int, minute: int, second: int = 0) -> float:
        state = played.state(played.start + (hour * 60 + minute) * 60 + second)
        return float(state["slower"].get("hydration", 1))

    assert [slower(8, 5), slower(8, 5, 15), slower(8, 5, 30), slower(8, 14, 45), slower(8, 15)] == [15, 15, 1, 1, 15]
    assert [slower(8, 4, 45), slower(10, 5), slower(10, 15)] == [1, 15, 1]
