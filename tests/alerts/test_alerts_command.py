"""`make alerts`, `make silence` and `make unsilence`, on the real Alertmanager and Prometheus."""

import getpass
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tools.base.wait import until
from tools.cli import run
from tools.stack.ports import Ports
from tools.stack.stack import Stack
from tools.write.notifications import example, resolved, running

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """What the commands ask. What was told cannot be taken back: the test of an empty system comes first."""
    made = Stack(tmp_path_factory.mktemp("alerts") / "state", Ports.free(), store="jaeger")
    try:
        made.up(only=("prometheus", "alertmanager", "simulator"))
        yield made
    finally:
        made.remove()


@pytest.fixture
def stack(shared: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """In its environment; silences end with the test."""
    for name, value in shared.service_environment().items():
        monkeypatch.setenv(name, value)
    yield shared
    for silence in silences(shared):
        address = f"{shared.url('alertmanager')}/api/v2/silence/{silence['id']}"
        httpx.delete(address, trust_env=False).raise_for_status()


def post(stack: Stack, *names: str) -> None:
    started = (datetime.now(UTC) - timedelta(minutes=7)).isoformat()
    body = [example(name) | {"startsAt": started} for name in names]
    httpx.post(f"{stack.url('alertmanager')}/api/v2/alerts", json=body, trust_env=False).raise_for_status()


def said(capfd: Capture, *words: str) -> list[str]:
    assert run(list(words)) == 0
    return capfd.readouterr().out.splitlines()


def test_an_empty_system_says_so(stack: Stack, capfd: Capture) -> None:
    until(lambda: heartbeat(stack), "the heart beats")
    lines = said(capfd, "alerts")
    assert lines[:3] == ["Nothing fires.", "", "Nobody was notified yet."]
    assert lines[-1].startswith("The Watchdog was heard ")


def heartbeat(stack: Stack) -> Any:
    return httpx.get(f"{stack.url('simulator')}/notifications", trust_env=False).json()["heartbeat"]


def test_what_was_told_is_shown_from_the_beginning_to_the_end(stack: Stack, capfd: Capture, tmp_path: Path) -> None:
    folder = tmp_path / "another"
    folder.mkdir()
    with running(folder, notify="") as alertmanager:  # one that does not wait, whose words the simulator is given
        alertmanager.post(example("HighErrorRate"))
        until(lambda: alertmanager.receiver.sent("/notifications"), "it is told")
        alertmanager.post(resolved(example("HighErrorRate")))
        until(lambda: len(alertmanager.receiver.sent("/notifications")) == 2, "it is told the end")
    for request in alertmanager.receiver.sent("/notifications"):
        url = f"{stack.url('simulator')}/notifications"
        httpx.post(url, json=request.body, trust_env=False).raise_for_status()
    lines = [line[11:] for line in said(capfd, "alerts") if "HighErrorRate" in line]
    summary = example("HighErrorRate")["annotations"]["summary"]
    assert lines == [f"warning  HighErrorRate – {summary}", f"over     HighErrorRate – {summary}"]


def test_an_alert_that_no_rule_has_cannot_be_silenced_and_near_names_are_told(stack: Stack, capfd: Capture) -> None:
    assert run(["silence", "HighErorRate", "--why", "a test"]) == 2
    assert "there is no alert HighErorRate; did you mean HighErrorRate or " in capfd.readouterr().err
    assert silences(stack) == []


def silences(stack: Stack) -> Any:
    """Those that have not ended."""
    found = httpx.get(f"{stack.url('alertmanager')}/api/v2/silences", trust_env=False).raise_for_status().json()
    return [one for one in found if one["status"]["state"] != "expired"]


def test_a_silence_says_who_made_it_why_and_ends_by_itself(stack: Stack, capfd: Capture) -> None:
    before = datetime.now(UTC)
    said(capfd, "silence", "HighErrorRate", "--for", "2h", "--why", "Ana mends it")
    after = datetime.now(UTC)
    [made] = silences(stack)
    assert made["comment"] == "Ana mends it"
    assert made["createdBy"] == getpass.getuser()
    ends = datetime.fromisoformat(made["endsAt"])
    rounding = timedelta(milliseconds=1)
    assert before - rounding <= ends - timedelta(hours=2) <= after + rounding


@pytest.mark.parametrize("duration", ["", "2", "0h", "2 hours", "-1h"])
def test_a_wrong_duration_is_refused(duration: str, stack: Stack, capfd: Capture) -> None:
    assert run(["silence", "HighErrorRate", f"--for={duration}", "--why", "a test"]) == 1
    assert "amtool: error: " in capfd.readouterr().err
    assert silences(stack) == []


def test_what_fires_is_shown_with_who_is_told_or_why_nobody_is(stack: Stack, capfd: Capture) -> None:
    post(stack, "CriticalWebhookLatency", "HighWebhookLatency", "SlowDatabaseQueries", "HighErrorRate")
    until(lambda: "held back" in "".join(said(capfd, "alerts")), "the warning is held back")
    [identifier] = said(capfd, "silence", "HighErrorRate", "--for", "2h", "--why", "a test")
    assert identifier == silences(stack)[0]["id"]
    until(lambda: "silenced" in "".join(said(capfd, "alerts")), "it is silenced")
    shown = said(capfd, "alerts")
    assert shown[:9] == [
        "Firing",
        "  critical CriticalWebhookLatency  for 7 min, goes to local",
        f"           {example('CriticalWebhookLatency')['annotations']['description']}",
        "           https://git.example.org/healthcare-observability/blob/main/docs/runbooks/CriticalWebhookLatency.md",
        "  warning  HighErrorRate  for 7 min, silenced",
        "  warning  HighWebhookLatency  for 7 min, held back by CriticalWebhookLatency",
        "  warning  SlowDatabaseQueries  for 7 min, goes to local",
        f"           {example('SlowDatabaseQueries')['annotations']['description']}",
        "           https://git.example.org/healthcare-observability/blob/main/docs/runbooks/SlowDatabaseQueries.md",
    ]
    assert said(capfd, "unsilence", "HighErrorRate") == []
    until(lambda: "silenced" not in "".join(said(capfd, "alerts")), "the silence has ended")
    assert run(["unsilence", "HighErrorRate"]) == 1
    assert capfd.readouterr().err == "clinic: HighErrorRate has no silence\n"


def test_without_alertmanager_the_address_is_named(monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    address = f"http://127.0.0.1:{Ports.free().alertmanager}"
    monkeypatch.setenv("ALERTMANAGER_URL", address)
    monkeypatch.setenv("NOTIFICATIONS_URL", f"{address}/notifications")
    assert run(["alerts"]) == 1
    assert capfd.readouterr().err.startswith(f"clinic: {address} does not answer as it should: ")
