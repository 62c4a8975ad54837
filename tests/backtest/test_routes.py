"""Who is told of a firing alert, and what holds it back."""

import os
import subprocess

import pytest

from tests.backtest.conftest import minutes, outcome, told, version
from tools.base.errors import CannotRunError
from tools.history.backtest import run
from tools.history.choice import History
from tools.stack.programs import GO_FILES, ensure

RULES = """\
groups:
  - name: alerts
    rules:
      - {alert: High, expr: fault == 1, labels: {severity: warning, signal: s}}
      - {alert: Critical, expr: worse == 1, labels: {severity: critical, signal: s}}
      - {alert: Blip, expr: blip == 1, labels: {severity: warning, signal: t}}
"""
RECEIVERS = """
receivers:
  - name: local
    webhook_configs: [{url: http://127.0.0.1:1/}]
  - name: pager
    webhook_configs: [{url_file: /run/secrets/pager-url}]
  - name: chat
    webhook_configs: [{url_file: /run/secrets/chat-url}]
"""
PLAIN = "route: {receiver: local, group_by: [alertname, job], group_wait: 30s, group_interval: 5m, repeat_interval: 1h}"
INHIBITION = """
inhibit_rules:
  - source_matchers: [severity="critical", signal!=""]
    target_matchers: [severity="warning", signal!=""]
    equal: [job, signal]
"""
FIRST_OF_EACH = [
    (10.5, "local", ["High"], False),
    (15.5, "local", ["Critical"], False),
    (20.5, "local", ["High"], False),
]


def test_each_group_is_told_once_after_its_wait_and_what_is_over_by_then_is_told_to_nobody(history: History) -> None:
    found = outcome(history, RULES, PLAIN + RECEIVERS)
    assert told(found) == FIRST_OF_EACH
    assert {one.alert: one.receivers for one in found.firings} == {"High": ["local"], "Critical": ["local"], "Blip": []}


def test_without_routes_nobody_is_told(history: History) -> None:
    found = outcome(history, RULES)
    assert len(found.firings) == 4
    assert told(found) == []


def test_an_alert_is_held_back_while_a_worse_one_of_the_same_job_and_signal_fires(history: History) -> None:
    found = outcome(history, RULES, PLAIN.replace("group_wait: 30s", "group_wait: 6m") + INHIBITION + RECEIVERS)
    spans = {
        (one.alert, one.labels["job"]): [(minutes(start), minutes(end), by) for start, end, by in one.inhibited]
        for one in found.firings
    }
    assert spans == {
        ("High", "a"): [(15.0, 25.0, "Critical")],
        ("High", "b"): [],
        ("Critical", "a"): [],
        ("Blip", "a"): [],
    }
    # High of a is looked at after 16, 21 and 26 minutes; only then nothing holds it back.
    assert told(found) == [(21.0, "local", ["Critical"], False), (26.0, "local", ["High"], False)]


def test_what_still_fires_after_the_repeat_interval_is_told_again(history: History) -> None:
    found = outcome(history, RULES, PLAIN.replace("repeat_interval: 1h", "repeat_interval: 9m") + RECEIVERS)
    assert told(found) == [
        (10.5, "local", ["High"], False),
        (15.5, "local", ["Critical"], False),
        (20.5, "local", ["High"], True),
        (20.5, "local", ["High"], False),
    ]


def test_what_joins_a_group_is_told_at_its_next_look(history: History) -> None:
    found = outcome(history, RULES, PLAIN.replace("alertname, job", "alertname") + RECEIVERS)
    assert told(found) == FIRST_OF_EACH
    whole = outcome(history, RULES, PLAIN.replace("[alertname, job]", "[]") + RECEIVERS)
    assert told(whole) == [
        (10.5, "local", ["High"], False),
        (15.5, "local", ["High", "Critical"], False),
        (20.5, "local", ["High", "Critical"], False),
    ]


@pytest.mark.parametrize("place", ["UTC", "America/Sao_Paulo"])
def test_a_route_is_silent_outside_of_its_hours(history: History, place: str) -> None:
    hour = {"UTC": 11, "America/Sao_Paulo": 8}[place]
    hours = f"""
time_intervals:
  - name: hours
    time_intervals: [{{times: [{{start_time: '{hour:02}:15', end_time: '{hour:02}:20'}}], location: {place}}}]
"""
    tree = """
route:
  receiver: local
  group_by: [alertname, job]
  group_wait: 30s
  routes:
    - {receiver: chat, matchers: [job="b"], active_time_intervals: [hours]}
    - {receiver: local, matchers: [alertname="High"], active_time_intervals: [hours]}
    - {receiver: pager, matchers: [alertname="Critical"], mute_time_intervals: [hours]}
"""
    found = outcome(history, RULES, tree + hours + RECEIVERS)
    assert told(found) == [(15.5, "local", ["High"], False), (20.5, "pager", ["Critical"], False)]
    assert [(one.alert, one.labels["job"], one.held_back, one.receivers) for one in found.firings] == [
        ("High", "a", ["hours"], ["local"]),
        ("High", "b", ["hours"], []),
        ("Critical", "a", ["hours"], ["pager"]),
        ("Blip", "a", [], []),
    ]


CONTINUED = """
route:
  receiver: local
  group_wait: 30s
  routes:
    - receiver: local
      matchers: [severity="critical"]
      routes:
        - {receiver: local, continue: true}
        - {receiver: pager, matchers: ['notify=~".*pager.*"'], continue: true}
        - {receiver: chat, matchers: ['notify=~".*chat.*"']}
"""


@pytest.mark.parametrize(
    ("notify", "receivers"), [(None, ["local", "chat", "pager"]), ("chat", ["local", "chat"]), ("", ["local"])]
)
def test_every_receiver_counts_as_switched_on_unless_the_environment_says_which_are(
    history: History, monkeypatch: pytest.MonkeyPatch, notify: str | None, receivers: list[str]
) -> None:
    monkeypatch.delenv("NOTIFY", raising=False)
    if notify is not None:
        monkeypatch.setenv("NOTIFY", notify)
    [critical] = [one for one in outcome(history, RULES, CONTINUED + RECEIVERS).firings if one.alert == "Critical"]
    assert sorted(critical.receivers) == sorted(receivers)


REFUSED = {
    "an expression": (
        RULES.replace("worse == 1", "rate(worse) > 1"),
        PLAIN + RECEIVERS,
        'your edit: prometheus/rules/example.yaml: 5:33: group "alerts", rule 2, "Critical": could not parse',
    ),
    "a field": (
        RULES.replace("labels: {severity: critical", "label: {severity: critical"),
        PLAIN + RECEIVERS,
        "field label not found in type rulefmt.Rule",
    ),
    "a template": (
        RULES.replace("signal: t", "signal: '{{ $label.x }}'"),
        PLAIN + RECEIVERS,
        'group "alerts", rule 3, "Blip": label "signal": template: __alert_Blip:1: undefined variable "$label"',
    ),
    "a receiver": (
        RULES,
        PLAIN.replace("local", "lokal") + RECEIVERS,
        'your edit: alertmanager/alertmanager.yml: undefined receiver "lokal" used in route',
    ),
    "a matcher": (
        RULES,
        PLAIN + INHIBITION.replace('severity="critical"', "severity critical") + RECEIVERS,
        "bad matcher",
    ),
    "hours": (RULES, PLAIN.replace("}", ", routes: [{active_time_intervals: [x]}]}") + RECEIVERS, 'time interval "x"'),
}


@pytest.mark.parametrize(("rules", "routes", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_file_that_is_refused_is_told_in_the_words_of_who_refuses_it(
    history: History, rules: str, routes: str, words: str
) -> None:
    with pytest.raises(CannotRunError) as refused:
        run([version(RULES, PLAIN + RECEIVERS), version(rules, routes)], history)
    assert words in str(refused.value)
    assert str(refused.value).count(words) == 1


def test_notifications_go_out_when_alertmanagers_own_dispatcher_and_pipeline_send_them() -> None:
    environment = os.environ | {"GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
    command = [str(ensure("go")), "test", "-mod=readonly", "-trimpath", "-tags=remove_all_sd", "-v", "."]
    run = subprocess.run(command, cwd=GO_FILES / "backtest", env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "--- PASS: TestTheModelOfNotificationsIsWhatAlertmanagerDoes" in run.stdout
