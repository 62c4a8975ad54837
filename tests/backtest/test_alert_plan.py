"""`make plan` tells what an edit of rules or routes changes, and for whom."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.backtest.conftest import MINUTE, RULES, START, make, past
from tools.base.files import Sources
from tools.cli import run as clinic
from tools.history.backtest import ALERTMANAGER, Behaviour
from tools.history.choice import History
from tools.plan import alerts
from tools.plan.changes import Change, Effect, Plan
from tools.plan.compare import plan
from tools.plan.timeline import COLUMNS, draw, picture

QUEUE = 'mem0_write_queue_size{job="healthcare-backend",instance="a"}'
EXAMPLE = """\
groups:
  - name: alerts
    rules:
      - record: job:queue:max
        expr: max by (job) (mem0_write_queue_size)
      - record: job:queue:max10m
        expr: max_over_time(job:queue:max[10m])
      - alert: LongQueue
        expr: job:queue:max > 100
        for: 5m
        labels: {severity: warning, signal: queue}
        annotations: {summary: The queue is long, dashboard_url: '/d/x?viewPanel=6'}
      - alert: VeryLongQueue
        expr: job:queue:max > 500
        labels: {severity: critical, signal: queue}
"""
ROUTES = """\
route: {receiver: local, group_by: [alertname, job], group_wait: 30s}
inhibit_rules:
  - name: worse
    source_matchers: [severity="critical"]
    target_matchers: [severity="warning"]
    equal: [signal]
receivers:
  - name: local
    webhook_configs: [{url: http://127.0.0.1:1/}]
"""


def queue(seconds: int) -> float:
    """Long from minute 130 to 150, very long in the middle of it, and for 2 of 10 minutes later on."""
    minute = seconds / MINUTE
    if 130 <= minute < 150:
        return 600 if 138 <= minute < 144 else 200
    return 80 if minute >= 155 and minute % 10 < 2 else 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hours of a queue, of which the last is reported."""
    return make(tmp_path_factory.mktemp("queue"), {QUEUE: queue})


@pytest.fixture
def history(folder: Path) -> History:
    """All of it."""
    return past(folder)


@pytest.fixture(scope="module")
def base() -> Sources:
    """The working tree with the example's rules and routes, and no others."""
    shipped = Sources.of_disk()
    others = ("prometheus/rules/", "prometheus/prometheus-alerts.yaml", "grafana/", "alertmanager/")
    bare = replace(shipped, paths=tuple(path for path in shipped.paths if not path.startswith(others)))
    return bare.edited(RULES, EXAMPLE).edited(ALERTMANAGER, ROUTES)


def judged(base: Sources, history: History, rules: str = EXAMPLE, routes: str = ROUTES) -> Plan:
    """The plan of an edit."""
    found = Plan(base.name, base.name)
    alerts.judge(found, base, base.edited(RULES, rules).edited(ALERTMANAGER, routes), history)
    return found


def texts(found: Plan, *areas: str) -> list[str]:
    """What is said of these areas."""
    return [f"{change.subject}: {change.text}" for change in found.changes if change.area in areas]


def test_a_comment_changes_nothing(base: Sources, history: History) -> None:
    found = judged(base, history, EXAMPLE + "# said\n", "# said\n" + ROUTES)
    assert (found.changes, found.effects, found.alerts, found.exit_code) == ([], [], [], 0)


def test_a_lower_threshold_tells_when_the_alert_fires_now_how_often_and_who_is_told(
    base: Sources, history: History
) -> None:
    found = judged(base, history, EXAMPLE.replace("max > 100\n        for: 5m", "max > 50\n        for: 1m"))
    assert texts(found, "rules") == [
        "alert LongQueue.expr: job:queue:max > 100 → job:queue:max > 50",
        "alert LongQueue.for: 5m → 1m",
    ]
    assert texts(found, "firings") == [
        "LongQueue: fires once, 15 min → 3 times, 21 min",
        f"LongQueue: {clock(history, 135)}–{clock(history, 150)} → {clock(history, 131)}–{clock(history, 150)}",
        f"LongQueue: now too: {clock(history, 161)}–{clock(history, 162)}, {clock(history, 171)}–{clock(history, 172)}",
        "LongQueue: fires again within an hour: 0 → 2 times",
    ]
    assert found.exit_code == 2


def clock(history: History, minute: int) -> str:
    """A minute of the history as the plan says it."""
    return history.clock(START + minute * MINUTE)


def test_behaviour_is_counted_in_firings_seconds_flaps_and_notifications(base: Sources, history: History) -> None:
    found = judged(base, history, EXAMPLE.replace("The queue is long", "Long"))
    [one] = found.alerts
    assert (one.alert, one.severity, one.before) == ("LongQueue", "warning", one.after)
    start = START + 135 * MINUTE
    held = [(START + 138 * MINUTE, START + 144 * MINUTE)]
    assert one.before == Behaviour(
        firings=1,
        seconds=15 * MINUTE,
        flaps=0,
        a_day=8.0,
        inhibited=6 * MINUTE,
        notifications={"local": 1},
        times=[(start, start + 15 * MINUTE)],
        inhibited_times=held,
        held_back=[],
    )


def test_an_edit_of_a_text_is_told_even_though_the_alert_fires_as_before(base: Sources, history: History) -> None:
    found = judged(base, history, EXAMPLE.replace("The queue is long", "Long"))
    assert found.changes == [
        Change("rules", "changed", "alert LongQueue.annotations.summary", "The queue is long → Long")
    ]
    assert (found.effects, found.exit_code) == ([], 2)


def test_a_new_alert_and_one_that_is_gone_are_told(base: Sources, history: History) -> None:
    found = judged(base, history, EXAMPLE.replace("alert: VeryLongQueue", "alert: Endless"))
    severities = [(change.severity, change.subject) for change in found.changes if change.area == "rules"]
    assert severities == [("gone", "alert VeryLongQueue"), ("new", "alert Endless")]
    span = f"{clock(history, 138)}–{clock(history, 144)}"
    assert texts(found, "firings") == [
        "Endless: fires never → once, 6 min",
        f"Endless: now too: {span}",
        "VeryLongQueue: fires once, 6 min → never",
        f"VeryLongQueue: no more: {span}",
    ]
    assert texts(found, "notifications") == ["local: 2 → 2 notifications: Endless +1, VeryLongQueue -1"]
    assert [(one.alert, one.before is None, one.after is None) for one in found.alerts] == [
        ("Endless", True, False),
        ("VeryLongQueue", False, True),
    ]


def test_a_second_rule_of_the_same_name_is_the_same_alert(base: Sources, history: History) -> None:
    found = judged(base, history, EXAMPLE.replace("alert: VeryLongQueue", "alert: LongQueue"))
    assert [(one.alert, one.severity) for one in found.alerts] == [
        ("LongQueue", "warning"),
        ("VeryLongQueue", "critical"),
    ]
    assert [change.subject for change in found.changes if change.area == "rules"] == [
        "alert VeryLongQueue",
        "alert LongQueue, again",
    ]
    assert texts(found, "firings")[0] == "LongQueue: fires once, 15 min → 2 times, 15 min"


def test_an_inhibition_taken_away_is_told_though_no_rule_changes(base: Sources, history: History) -> None:
    found = judged(base, history, routes=ROUTES.replace('severity="warning"', 'severity="info"'))
    assert texts(found, "rules") == []
    assert texts(found, "routes") == [
        'inhibit_rules.worse.target_matchers.severity="warning": severity="warning" → severity="info"'
    ]
    assert texts(found, "firings") == ["LongQueue: held back by another alert: 6 min → 0 min"]
    assert found.exit_code == 2


def test_who_reads_an_edited_recording_rule_is_named_also_through_another_rule(base: Sources, history: History) -> None:
    found = judged(base, history, EXAMPLE.replace("max by (job) (mem0", "min by (job) (mem0"))
    assert [(effect.who, effect.samples) for effect in found.effects if effect.what == "is touched"] == [
        ("recording rule job:queue:max10m", ("job:queue:max",)),
        ("alert LongQueue", ("job:queue:max",)),
        ("alert VeryLongQueue", ("job:queue:max",)),
    ]


def test_the_panel_that_an_edited_alert_links_to_is_named(base: Sources, history: History) -> None:
    found = judged(base, history, EXAMPLE.replace("max > 100", "max > 90"))
    assert found.effects == [Effect("the panel of alert LongQueue", "/d/x?viewPanel=6", "is touched")]


def test_a_label_that_the_contract_does_not_have_is_not_to_be_shipped(base: Sources, history: History) -> None:
    found = judged(base, history, EXAMPLE.replace("(mem0_write_queue_size)", '(mem0_write_queue_size{lane="faq"})'))
    [broken] = [change for change in found.changes if change.severity == "broken"]
    assert broken.area == "contract"
    assert broken.text == "recording rule job:queue:max: mem0_write_queue_size has no label lane"
    assert found.exit_code == 1


def test_a_rule_that_cannot_be_evaluated_is_not_to_be_shipped(base: Sources, history: History) -> None:
    twice = 'label_replace(mem0_write_queue_size or job:queue:max, "instance", "", "", "")'
    found = judged(base, history, EXAMPLE.replace("job:queue:max > 500", twice))
    [broken] = [change for change in found.changes if change.severity == "broken"]
    assert "vector contains metrics with the same labelset after applying alert labels" in broken.text
    assert found.exit_code == 1


Run = Callable[..., int]


@pytest.fixture
def run(base: Sources, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command, over an edit of the example."""

    def edited(rules: str, *arguments: str) -> int:
        monkeypatch.setattr(Sources, "of_disk", lambda: base.edited(RULES, rules))
        monkeypatch.setattr(Sources, "of_commit", lambda _: base)
        return clinic(["plan", "--history", str(folder), *arguments])

    return edited


def test_exit_code_0_nothing_changes_2_something_does_1_it_is_refused(
    run: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(EXAMPLE) == 0
    assert "Nothing changes" in capsys.readouterr().out
    assert run(EXAMPLE.replace("for: 5m", "for: 1m")) == 2
    said = capsys.readouterr().out
    for words in ("What the rules say", "~ alert LongQueue.for  5m → 1m", "What fires", "When it fires"):
        assert words in said
    assert f"1 hours of the blocks in {folder}" in said
    assert run(EXAMPLE.replace("for: 5m", "for: 5")) == 1
    said = capsys.readouterr().err
    assert "cannot plan: your edit: prometheus/rules/example.yaml: " in said
    assert 'not a valid duration string: "5"' in said


def test_machines_are_told_the_same_as_people(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(EXAMPLE.replace("for: 5m", "for: 1m"), "--json") == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["exit_code"] == 2
    assert answer["spans"] == 0
    assert answer["end"] - answer["start"] == 3600
    [alert] = answer["alerts"]
    assert (alert["alert"], alert["severity"]) == ("LongQueue", "warning")
    assert (alert["before"]["seconds"], alert["after"]["seconds"]) == (15 * MINUTE, 19 * MINUTE)
    assert alert["after"]["notifications"] == {"local": 1}
    assert {change["area"] for change in answer["changes"]} == {"rules", "firings"}
    assert run(EXAMPLE.replace("for: 5m", "for: 5"), "--json") == 1
    assert 'not a valid duration string: "5"' in json.loads(capsys.readouterr().out)["error"]


def test_what_is_written_alike_is_not_run(base: Sources) -> None:
    found = plan(base, base)
    assert (found.spans, found.history, found.changes, found.exit_code) == (0, "", [], 0)


def test_the_timeline_shows_base_above_edit_and_what_is_held_back(base: Sources, history: History) -> None:
    edit = EXAMPLE.replace("for: 5m", "for: 10m")
    found = judged(base, replace(history, start=START + 120 * MINUTE, end=START + 168 * MINUTE, warm_up=7200), edit)
    scale, name, before, after = (row.plain for row in draw(found))
    assert name == "LongQueue"
    assert scale.split()[0] == clock(history, 120)
    # 48 minutes in 96 columns: one is 30 seconds.
    assert before == "    base  " + "·" * 30 + "█" * 6 + "░" * 12 + "█" * 12 + "·" * 36
    assert after == "    edit  " + "·" * 40 + "░" * 8 + "█" * 12 + "·" * 36
    assert COLUMNS == 96


def test_the_picture_asks_nobody_for_anything(base: Sources, history: History, tmp_path: Path) -> None:
    picture(judged(base, history, EXAMPLE.replace("for: 5m", "for: 1m")), tmp_path / "plan.svg")
    text = (tmp_path / "plan.svg").read_text()
    assert "LongQueue" in text
    assert text.replace("http://www.w3.org/2000/svg", "").count("://") == 0
    assert "@font-face" not in text
