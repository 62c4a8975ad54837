"""Who is told of what, on the real Alertmanager, with real HTTP receivers."""

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import BaseModel, ConfigDict, Field, HttpUrl

from tests.alerts.conftest import ALERTS
from tests.support.notified import alert_of
from tools.base.clock import zone
from tools.base.files import ROOT
from tools.base.wait import until
from tools.stack.ports import Ports
from tools.stack.programs import ensure
from tools.stack.stack import Stack
from tools.write.notifications import (
    CONFIG,
    ENDED,
    EVERYBODY,
    PAGE,
    STARTED,
    Alertmanager,
    Receiver,
    Request,
    example,
    page,
    resolved,
    running,
    shipped_configuration,
)

PAGED = ["local", "slack-notifications", "pagerduty", "opsgenie", "jsm"]
CHAT = ["local", "slack-notifications"]
REACHED = {"critical": PAGED, "warning": CHAT, "info": CHAT, "none": ["local-heartbeat", "heartbeat"]}
PATHS = {
    "local": "/notifications",
    "slack-notifications": "/slack",
    "pagerduty": "/pagerduty",
    "opsgenie": "/opsgenie",
    "jsm": "/jsm",
    "local-heartbeat": "/local-heartbeat",
    "heartbeat": "/heartbeat",
}


def route(**labels: str) -> list[str]:
    """The receivers that the real router finds."""
    given = [f'{name}="{value}"' for name, value in labels.items()]
    command = (str(ensure("amtool")), "config", "routes", "test", f"--config.file={CONFIG}", *given)
    return subprocess.check_output(command, text=True).strip().split(",")


def reached(name: str) -> list[str]:
    return PAGED if name == "AlertmanagerNotificationsFailing" else REACHED[ALERTS[name].labels["severity"]]


def test_amtool_accepts_the_configuration_and_its_templates() -> None:
    run = subprocess.run((ensure("amtool"), "check-config", CONFIG), capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_reaches_whom_its_severity_says_and_only_those_that_are_switched_on(name: str) -> None:
    labels = example(name)["labels"]
    assert route(**labels, notify=EVERYBODY) == reached(name)
    assert route(**labels, notify="slack") == [one for one in reached(name) if one in {*CHAT, "local-heartbeat"}]
    assert route(**labels) == [reached(name)[0]]


def test_what_no_route_takes_is_still_seen() -> None:
    assert route(alertname="New", severity="page", notify=EVERYBODY) == ["local"]


# What they are sent


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Button(Strict):
    type: Literal["button"]
    text: str
    url: HttpUrl


class Attachment(Strict):
    """Slack, "Legacy secondary attachments"; 3000 characters is where Slack folds a text."""

    color: Literal["danger", "warning", "#439fe0", "good"]
    title: str = Field(max_length=150)
    title_link: HttpUrl
    text: str = Field(max_length=3000)
    fallback: str = Field(max_length=150)
    footer: Literal[""]
    callback_id: Literal[""]
    mrkdwn_in: list[str]
    actions: list[Button]


class Slack(Strict):
    """Slack, "Sending messages using incoming webhooks"."""

    channel: Literal["#alerts-healthcare"]
    username: str
    attachments: list[Attachment] = Field(min_length=1, max_length=1)


class Link(Strict):
    href: HttpUrl
    text: str


class Details(Strict):
    firing: list[str]
    resolved: list[str]
    num_firing: int
    num_resolved: int


class PagerDutyPayload(Strict):
    summary: str = Field(min_length=1, max_length=1024)
    source: str
    severity: Literal["critical", "error", "warning", "info"]
    component: str
    group: str
    class_: str = Field(alias="class")
    custom_details: Details


class PagerDuty(Strict):
    """PagerDuty, Events API v2, "Send an alert event"."""

    routing_key: Literal["routing-key"]
    event_action: Literal["trigger", "resolve"]
    dedup_key: str = Field(max_length=255)
    payload: PagerDutyPayload
    client: str
    client_url: HttpUrl
    links: list[Link] = Field(min_length=2, max_length=2)


class Opsgenie(Strict):
    """Opsgenie, Alert API, "Create alert"."""

    message: str = Field(min_length=1, max_length=130)
    alias: str = Field(max_length=512)
    description: str = Field(max_length=15000)
    tags: list[str] = Field(max_length=20)
    details: dict[str, str]
    entity: str = Field(max_length=512)
    source: str = Field(max_length=100)
    priority: Literal["P1", "P3"]


class Webhook(BaseModel):
    """Alertmanager, "Webhook", version 4."""

    version: Literal["4"]


SHAPES: dict[str, type[BaseModel]] = {
    "local": Webhook,
    "slack-notifications": Slack,
    "pagerduty": PagerDuty,
    "opsgenie": Opsgenie,
    "jsm": Opsgenie,
    "local-heartbeat": Webhook,
    "heartbeat": Webhook,
}


@dataclass(frozen=True)
class Sent:
    """What the receivers were sent about every alert: first that it fires, then that it is over."""

    firing: list[Request]
    over: list[Request]


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Sent:
    """All alerts at once, none held back, the clinic open."""
    config = shipped_configuration() | {"inhibit_rules": [], "time_intervals": opening("sunday:saturday")}
    alerts = [example(name) for name in ALERTS]
    with running(tmp_path_factory.mktemp("alertmanager"), config) as alertmanager:
        requests = alertmanager.receiver.requests
        wanted = sum(len(reached(name)) for name in ALERTS)
        alertmanager.post(*alerts)
        until(lambda: len(requests) >= wanted, "all receivers are told")
        firing = list(requests)
        over = [alert for alert in alerts if alert["labels"]["alertname"] != "Watchdog"]
        alertmanager.post(*map(resolved, over))
        ends = sum(len(reached(alert["labels"]["alertname"])) for alert in over)
        until(lambda: len([one for one in requests[wanted:] if is_over(one)]) >= ends, "all are told the end")
        return Sent(firing, [one for one in requests[wanted:] if is_over(one)])


def opening(days: str) -> list[dict[str, Any]]:
    return [{"name": "clinic-hours", "time_intervals": [{"weekdays": [days]}]}]


def is_over(request: Request) -> bool:
    body = request.body
    if "attachments" in body:
        return bool(body["attachments"][0]["color"] == "good")
    return "close" in request.path or "resolve" in (body.get("status", "") + body.get("event_action", ""))[:8]


def about(name: str, sent: list[Request]) -> dict[str, list[Request]]:
    """The requests of one alert by receiver."""
    found: dict[str, list[Request]] = {}
    receivers = {path: receiver for receiver, path in PATHS.items()}
    for request in sent:
        if alert_of(request) == name:
            found.setdefault(receivers["/" + request.path.split("/")[1]], []).append(request)
    return found


@pytest.mark.parametrize("name", ALERTS)
def test_every_receiver_is_sent_once_what_its_api_documents(sent: Sent, name: str) -> None:
    requests = about(name, sent.firing)
    assert {receiver: len(those) for receiver, those in requests.items()} == dict.fromkeys(reached(name), 1)
    for receiver, [request] in requests.items():
        assert request.headers["Content-Type"] == "application/json"
        SHAPES[receiver].model_validate(request.body)


@pytest.mark.parametrize("name", [name for name in ALERTS if name != "Watchdog"])
def test_whoever_was_told_is_told_once_that_it_is_over(sent: Sent, name: str) -> None:
    began = {key(one) for one in sent.firing if alert_of(one) == name}
    ended = [key(one) for one in sent.over if key(one) in began]
    assert sorted(ended) == sorted(began)


def key(request: Request) -> tuple[str, str]:
    """By what the receiver knows that two requests are about the same thing."""
    body = request.body
    receiver = request.path.split("/")[1]
    if "attachments" in body:
        return receiver, alert_of(request)
    closed = request.path.split("/")[-2] if "/close" in request.path else ""
    return receiver, str(closed or body.get("dedup_key") or body.get("alias") or body["groupKey"])


def test_slack_shows_the_words_as_they_are_and_its_buttons_lead_somewhere(sent: Sent) -> None:
    for request in sent.firing:
        for attachment in request.body.get("attachments", ()):
            assert set("<>&").isdisjoint(attachment["text"] + attachment["title"])  # Slack reads them as markup
            runbook = attachment["actions"][0]["url"].partition("/blob/main/")[2]
            assert (ROOT / runbook).is_file()


def test_every_link_to_a_panel_shows_the_incident_in_the_middle_of_its_hour(sent: Sent) -> None:
    started, ended = (int(datetime.fromisoformat(time).timestamp()) for time in (STARTED, ENDED))
    for requests, last in ((sent.firing, started), (sent.over, ended)):
        links = [link for one in requests for link in panels(one.body)]
        assert len(links) > len(ALERTS) / 2
        for link in links:
            query = parse_qs(urlsplit(link).query)
            assert query["from"] == [f"{(started - 1800) * 1000}"]
            assert query["to"] == [f"{(last + 1800) * 1000}"]
            assert "viewPanel" in query


def panels(body: dict[str, Any]) -> list[str]:
    """The addresses of the panel in Slack's, PagerDuty's and Opsgenie's words."""
    [attachment] = body.get("attachments", [{}])
    buttons = [one["url"] for one in attachment.get("actions", ()) if one["text"] == "Panel"]
    links = [one["href"] for one in body.get("links", ()) if one["text"] == "Panel"]
    details = body.get("details", {})
    found = [attachment.get("title_link"), *buttons, body.get("client_url"), *links, details.get("panel")]
    return [one for one in found if one]


def test_objectives_that_burn_together_are_one_notification(tmp_path: Path) -> None:
    started = datetime.now(UTC)  # one that began longer ago than they wait for each other is told at once
    latency = example("ErrorBudgetBurn1h") | {"startsAt": started.isoformat()}
    success = {
        "labels": latency["labels"] | {"slo": "webhook-success", "signal": "slo-webhook-success"},
        "annotations": latency["annotations"] | {"summary": "The other", "description": "Both."},
        "startsAt": latency["startsAt"],
    }
    config = shipped_configuration()
    for route in (config["route"], *config["route"]["routes"]):
        route["group_wait"] = "2s"
    since = f"{started.astimezone(zone()):%H:%M} (UTC-03:00)"
    with running(tmp_path, config) as alertmanager:
        alertmanager.post(latency, success)
        [request] = until(lambda: alertmanager.receiver.sent("/slack"), "Slack is told")
    attachment = request.body["attachments"][0]
    assert attachment["title"] == "CRITICAL: ErrorBudgetBurn1h (2 firing)"
    assert attachment["text"].splitlines() == [
        f"{latency['annotations']['summary']}:",
        f"{latency['annotations']['description']} Since {since}.",
        "The other:",
        f"Both. Since {since}.",
        "The cause: make why ALERT=ErrorBudgetBurn1h",
    ]


# What is held back


def test_outside_of_clinic_hours_information_waits_and_nothing_else_does(tmp_path: Path) -> None:
    far = (datetime.now(UTC) + timedelta(days=3)).strftime("%A").lower()
    config = shipped_configuration() | {"inhibit_rules": [], "time_intervals": opening(far)}
    information = {name for name, alert in ALERTS.items() if alert.labels["severity"] == "info"}
    with running(tmp_path, config) as alertmanager:
        alertmanager.post(*map(example, ALERTS))
        wanted = sum(len(reached(name)) for name in ALERTS.keys() - information)
        until(lambda: len(alertmanager.receiver.requests) >= wanted, "all others are told")
        until(lambda: waiting(alertmanager) == information, "the information waits")
        assert {alert_of(one) for one in alertmanager.receiver.requests} == ALERTS.keys() - information


def waiting(alertmanager: Alertmanager) -> set[str]:
    return {name for name, state in alertmanager.states().items() if state["muted by"] == ["clinic-hours"]}


# Who is switched on


def test_without_a_secret_the_others_are_told_and_as_soon_as_it_is_there_so_is_slack(tmp_path: Path) -> None:
    with running(tmp_path, notify="slack", secrets={}) as alertmanager:
        alertmanager.post(example("CriticalErrorRate"))
        until(lambda: alertmanager.receiver.sent("/notifications"), "the local receiver is told")
        until(lambda: failed(alertmanager, "slack") > 0, "Slack's failures are counted")
        assert alertmanager.receiver.sent("/slack") == []
        (tmp_path / "secrets" / "slack-url").write_text(f"{alertmanager.receiver.endpoint}/slack")
        until(lambda: alertmanager.receiver.sent("/slack"), "Slack is told")


def failed(alertmanager: Alertmanager, integration: str) -> float:
    lines = httpx.get(f"{alertmanager.url}/metrics", trust_env=False).raise_for_status().text.splitlines()
    name = f'alertmanager_notifications_failed_total{{integration="{integration}",'
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def test_a_file_in_secrets_switches_its_receiver_on_from_prometheus_to_its_address(tmp_path: Path) -> None:
    receiver, secrets = Receiver(), tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "README.md").write_text("no receiver")
    (secrets / "heartbeat-url").write_text(f"{receiver.endpoint}/heartbeat")
    (secrets / "slack-url").write_text(f"{receiver.endpoint}/slack")
    stack = Stack(tmp_path / "state", Ports.free(), store="jaeger", receivers=secrets)
    try:
        with receiver.listening():
            stack.up(only=("prometheus", "alertmanager"))
            [beat, *_] = until(lambda: receiver.sent("/heartbeat"), "the heart beats")
    finally:
        stack.remove()
    assert beat.body["commonLabels"]["notify"] == "heartbeat,slack"


def test_the_examples_in_the_docs_are_what_is_sent(tmp_path: Path) -> None:
    assert PAGE.read_text("utf-8").endswith(page(tmp_path))
