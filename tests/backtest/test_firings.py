"""Alerts fire in the backtest when they fire in Prometheus."""

import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.backtest.conftest import HOUR, MINUTE, START, between, fired, make, minutes, outcome, past
from tools.base.errors import CannotRunError
from tools.base.files import Sources
from tools.base.prometheus import PrometheusError
from tools.base.wait import until
from tools.history.choice import History, choose
from tools.stack import stack
from tools.stack.ports import HOST, Ports
from tools.stack.programs import ensure

EVERYTHING = """\
groups:
  - name: recorded
    rules:
      - {record: 'job:events:rate5m', expr: 'sum by (job) (rate(events_total[5m]))'}
      - {record: 'job:events:rate5m_max', expr: 'max_over_time(job:events:rate5m[10m])', labels: {of: '5m'}}
  - name: slow
    interval: 1m
    rules:
      - {alert: Slow, expr: 'fault > 0', for: 90s}
      - {record: 'job:fault:avg', expr: 'avg by (job) (avg_over_time(fault[3m]))'}
  - name: alerts
    labels: {team: clinic}
    rules:
      - {alert: Plain, expr: 'fault == 1', labels: {who: '{{ $labels.job }}-{{ $value }}'}}
      - {alert: Waits, expr: 'fault == 1', for: 5m}
      - {alert: Keeps, expr: 'flicker == 1', keep_firing_for: 5m}
      - {alert: Gone, expr: 'absent(there)', for: 1m}
      - {alert: Ratio, expr: 'job:events:rate5m < 3.0', for: 2m}
      - {alert: OfRecorded, expr: 'job:fault:avg > 0.5 and on (job) job:events:rate5m_max > 0', for: 30s}
      - {alert: Nameless, expr: 'count by (job) ({job="a", instance!=""}) > 1'}
      - {alert: OfAlerts, expr: 'count(ALERTS{alertname="Plain", alertstate="firing"}) > 1'}
      - {alert: Asks, expr: 'blip == 1', labels: {now: '{{ with query "flicker" }}{{ . | first | value }}{{ end }}'}}
"""


def rule(expression: str, further: str = "") -> str:
    """A file with one alert."""
    return f"groups: [{{name: one, rules: [{{alert: One, expr: '{expression}', {further}}}]}}]"


def test_an_alert_fires_from_the_step_at_which_its_wait_is_over_until_the_one_at_which_it_is_false(
    history: History,
) -> None:
    found = outcome(history, rule('fault{job="a"} == 1', "for: 5m"))
    assert fired(found) == [("One", 15.0, 30.0)]
    assert found.firings[0].labels == {"alertname": "One", "job": "a"}


def test_an_alert_that_is_true_for_less_than_its_wait_never_fires(history: History) -> None:
    assert fired(outcome(history, rule('fault{job="b"} == 1', "for: 2m"))) == []
    assert fired(outcome(history, rule('fault{job="b"} == 1', "for: 45s"))) == [("One", 20.75, 21.0)]


def test_an_alert_that_still_fires_has_no_end(history: History) -> None:
    assert fired(outcome(history, rule("absent(nothing)"))) == [("One", 0.0, None)]


def test_only_what_touches_the_reported_time_is_reported(history: History) -> None:
    later = replace(history, start=START + 26 * MINUTE, warm_up=26 * MINUTE)
    assert fired(outcome(later, rule("fault == 1", "for: 5m"))) == [("One", 15.0, 30.0)]
    assert fired(outcome(replace(later, start=START + 30 * MINUTE), rule("fault == 1"))) == []


def test_one_query_a_rule_gives_what_prometheus_groups_give_step_by_step(history: History) -> None:
    fast, stepped = (outcome(history, EVERYTHING, stepping=stepping) for stepping in (False, True))
    assert fast.failed == stepped.failed == []
    assert {one.alert for one in fast.firings} == {
        "Slow", "Plain", "Waits", "Keeps", "Gone", "Ratio", "OfRecorded", "Nameless", "OfAlerts", "Asks",
    }  # fmt: skip
    assert sorted(map(repr, fast.firings)) == sorted(map(repr, stepped.firings))
    assert len(fast.firings) > 20


def test_what_rules_recorded_in_the_history_is_made_anew(tmp_path: Path) -> None:
    recorded = {"level": between(0, 60), "double:level": between(0, 60, inside=50), "ALERTS": between(0, 60)}
    rules = """\
groups:
  - name: one
    rules:
      - {record: 'double:level', expr: level * 2}
      - {alert: Double, expr: 'double:level == 2'}
      - {alert: Old, expr: 'double:level == 50 or ALERTS{alertname=""}'}
"""
    assert fired(outcome(past(make(tmp_path, recorded, hours=1), hours=1), rules)) == [("Double", 0.0, 60.0)]


def test_a_rule_that_cannot_be_evaluated_is_told_in_prometheus_words(history: History) -> None:
    found = outcome(history, rule("events_total * on (job) events_total"))
    assert found.firings == []
    [words] = found.failed
    assert words.startswith("prometheus/rules/example.yaml: One: found duplicate series for the match group")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """A running one that has seen the last 7 hours, and when they begin."""
    folder = tmp_path_factory.mktemp("prometheus")
    start = (int(time.time()) - 7 * HOUR) // MINUTE * MINUTE
    series = {"up": lambda _: 1.0, 'fault{job="a"}': between(240, 260)}
    blocks = make(folder, series, start=start, hours=7)
    config = folder / "prometheus.yml"
    config.write_text("global: {}\n")
    port = Ports.free().prometheus
    command = [str(ensure("prometheus")), f"--config.file={config}", f"--storage.tsdb.path={blocks}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={HOST}:{port}"], stdout=log, stderr=log)
        try:
            url = f"http://{HOST}:{port}"

            def ready() -> bool:
                try:
                    return httpx.get(f"{url}/-/ready", trust_env=False).is_success
                except httpx.TransportError:
                    return False

            until(ready, "Prometheus is ready")
            yield url, start
        finally:
            process.terminate()
            process.wait()


def test_a_running_prometheus_is_read_over_its_own_api(prometheus: tuple[str, int]) -> None:
    url, start = prometheus
    history = choose(url, Sources.of_disk())
    assert history.where == {"prometheus": url}
    assert 0 <= history.start - start <= MINUTE
    found = outcome(history, rule("fault == 1", "for: 5m"))
    assert [(one.start - start, one.end and one.end - start) for one in found.firings] == [(245 * MINUTE, 260 * MINUTE)]


def test_a_history_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CannotRunError, match="is no folder"):
        choose(str(tmp_path / "none"), Sources.of_disk())
    with pytest.raises(PrometheusError, match="does not answer"):
        choose(f"http://{HOST}:1", Sources.of_disk())
    empty = choose(str(tmp_path), Sources.of_disk())
    with pytest.raises(CannotRunError, match="there is no block"):
        outcome(empty, rule("fault == 1"))


def test_where_nothing_of_ours_runs_the_day_that_ships_is_the_history(
    prometheus: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "STATE", tmp_path)
    monkeypatch.setenv("PROMETHEUS_PORT", prometheus[0].rpartition(":")[2])
    shipped = Sources.of_disk()
    assert choose("", shipped) == choose("day", shipped)


def test_the_running_stacks_prometheus_is_the_history_if_it_has_six_hours(
    prometheus: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_URL", prometheus[0])
    assert choose("", Sources.of_disk()).where == {"prometheus": prometheus[0]}


def test_a_folder_of_blocks_is_reported_from_its_beginning_to_its_end(blocks: Path) -> None:
    found = outcome(replace(choose(str(blocks), Sources.of_disk()), warm_up=0), rule("fault == 1"))
    assert (minutes(found.start), minutes(found.end)) == (0.0, 180.0)
