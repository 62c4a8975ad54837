"""What `make drill` says before anything is done, and that no alert is forgotten."""

import re
from pathlib import Path

import pytest

from simulator.messages import PATIENTS
from tests.alerts.conftest import ALERTS
from tools.base.files import ROOT
from tools.cli import run
from tools.commands.drill import rounds
from tools.drill.faults import FAULTS, ROUNDS
from tools.drill.report import hints_of, markdown
from tools.drill.run import Result
from tools.drill.traffic import FIRST_NEW
from tools.drill.watch import Progress
from tools.stack import stack
from tools.stack.ports import Ports

PAGE = ROOT / "docs" / "drills.md"
ROW = re.compile(r"^\| \[(\w+)\]\(runbooks/\w+\.md\) \| ([a-z0-9-]+) \|", re.MULTILINE)


def test_every_alert_of_the_rules_has_a_drill_and_every_drill_an_alert() -> None:
    assert set(FAULTS) == set(ALERTS)
    listed = [alert for faults in ROUNDS for fault in faults for alert in fault.alerts]
    assert len(listed) == len(set(listed)) == 45


def test_no_notification_is_waited_for_only_where_prometheus_knows_nobody_to_tell() -> None:
    assert {name: fault.not_notified for name, fault in FAULTS.items() if fault.not_notified} == {
        "PrometheusNotConnectedToAlertmanagers": "Prometheus knows nobody to tell"
    }


def test_alone_it_lists_every_alert_with_what_its_drill_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest-xdist sets it
    assert run(["drill"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, fault in FAULTS.items():
        assert any(line.split()[:2] == [name, fault.name] and line.rstrip().endswith(fault.what) for line in lines)


def test_an_unknown_alert_is_answered_with_those_that_are_spelled_alike(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["drill", "HighErorRate"]) == 2
    assert "there is no alert HighErorRate; did you mean HighErrorRate or " in capsys.readouterr().err
    assert run(["drill", "zzz"]) == 2
    assert "there is no alert zzz; there are " in capsys.readouterr().err


def test_without_a_running_stack_it_says_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stack, "STATE", tmp_path)
    assert run(["drill", "TargetDown"]) == 1
    assert capsys.readouterr().err.rstrip().endswith("Start them first: make up")


def test_while_somebody_real_would_be_notified_it_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "slack-url").write_text("https://hooks.example.org/")
    (tmp_path / "pagerduty-routing-key").write_text("a key")
    monkeypatch.setattr(stack, "STATE", tmp_path / "state")
    monkeypatch.setattr(stack, "RECEIVERS", tmp_path)
    assert run(["drill", "TargetDown"]) == 1
    assert " ".join(capsys.readouterr().err.split()).startswith("clinic: pagerduty, slack would be told: ")


def test_one_alert_is_its_fault_alone_and_all_are_all_rounds() -> None:
    assert rounds("MemoriesGivenUp") == [
        ((FAULTS["MemoriesGivenUp"],), frozenset({"Mem0WriteFailures", "MemoriesGivenUp", "HighErrorRate"}))
    ]
    assert [faults for faults, _ in rounds("all")] == list(ROUNDS)


def test_each_hint_is_the_runbook_with_its_first_command() -> None:
    assert hints_of("RepliesFailing", Ports()) == ["docs/runbooks/RepliesFailing.md: make logs S=worker"]
    for name in FAULTS:
        [hint] = hints_of(name, Ports())
        assert re.match(rf"docs/runbooks/{name}\.md: (make|curl) ", hint)


def test_a_hint_asks_the_stack_that_the_drill_runs_in() -> None:
    [usual] = hints_of("TargetDown", Ports())
    [hint] = hints_of("TargetDown", Ports(prometheus=17090, service=9090))
    assert "http://127.0.0.1:9090/" in usual
    assert hint == usual.replace(":9090/", ":17090/")


def test_invented_new_patients_are_none_of_the_simulators() -> None:
    assert FIRST_NEW > PATIENTS


def test_a_result_is_good_only_when_all_was_seen_that_was_expected() -> None:
    fault, said = FAULTS["TargetDown"], "Alertmanager shows more series than Prometheus may take"
    whole = Progress("TargetDown", "", False, 1, 2, 3, 4, 5)
    assert Result(fault, whole, said).good
    assert not Result(fault, whole, "Nothing stands out").good
    for step in ("firing", "notified", "resolved", "cleared"):
        part = Progress("TargetDown", "", False, 1, 2, 3, 4, 5)
        setattr(part, step, None)
        assert not Result(fault, part, said).good
    assert not Result(fault, Progress("TargetDown", "", True, 1, 2, 3, 4, 5), said).good
    unheard = Progress("TargetDown", "nobody hears", False, 1, 2, None, 4, None)
    assert Result(fault, unheard, said).good
    assert markdown([Result(fault, unheard, said)]).splitlines()[-1] == (
        "| [TargetDown](runbooks/TargetDown.md) | bad-target | 1 s | 2 s | – | 4 s | – | yes |"
    )


def test_the_page_has_the_measured_row_of_every_alert() -> None:
    assert dict(ROW.findall(PAGE.read_text())) == {name: fault.name for name, fault in FAULTS.items()}
