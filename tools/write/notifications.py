"""What each receiver is sent: the shipped Alertmanager configuration on a real Alertmanager, addresses replaced."""

import json
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import yaml

from tools.base.files import ROOT
from tools.base.wait import until
from tools.stack import components, processes, rendered
from tools.stack.ports import HOST, Ports

CONFIG = ROOT / "alertmanager" / "alertmanager.yml"
PAGE = ROOT / "docs" / "notifications.md"
SECRETS = {
    "slack-url": "{endpoint}/slack",
    "pagerduty-routing-key": "routing-key",
    "opsgenie-api-key": "opsgenie-key",
    "jsm-api-key": "jsm-key",
    "heartbeat-url": "{endpoint}/heartbeat",
}
"""The files of secrets/, with what a receiver's operator would give out."""
EVERYBODY = "heartbeat,jsm,opsgenie,pagerduty,slack"
STARTED, ENDED = "2026-01-15T14:03:00Z", "2026-01-15T14:15:00Z"
_COLOURS = {"danger": "red", "good": "green"}
_MARK = "<!-- What follows is written by `make docs`; a test compares. -->\n"


@dataclass(frozen=True)
class Request:
    """What a receiver was sent."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Receiver:
    """An HTTP server that plays every receiver and remembers what it was sent."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        handler = type("Handler", (_Handler,), {"requests": self.requests})
        self._server = ThreadingHTTPServer((HOST, 0), handler)
        self.endpoint = f"http://{HOST}:{self._server.server_address[1]}"

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Answers within."""
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def sent(self, path: str) -> list[Request]:
        """The requests whose path begins so, in the order of their arrival."""
        return [request for request in list(self.requests) if request.path.startswith(path)]


class _Handler(BaseHTTPRequestHandler):
    requests: list[Request]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.requests.append(Request(self.path, dict(self.headers.items()), body))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")  # Slack's way to say yes

    def log_message(self, *_: Any) -> None:
        """Nothing: a test's output is its own."""


class Alertmanager:
    """A running one, told of alerts as Prometheus would tell it."""

    def __init__(self, url: str, receiver: Receiver, notify: str) -> None:
        self.url, self.receiver, self.notify = url, receiver, notify

    def post(self, *alerts: dict[str, Any]) -> None:
        """Tell it of alerts: `labels`, `annotations`, and `startsAt`, `endsAt` where they matter."""
        labelled = [one | {"labels": one["labels"] | {"notify": self.notify}} for one in alerts]
        httpx.post(f"{self.url}/api/v2/alerts", json=labelled, trust_env=False).raise_for_status()

    def states(self) -> dict[str, dict[str, list[str]]]:
        """By alert name: who inhibits, silences or mutes it."""
        answer = httpx.get(f"{self.url}/api/v2/alerts/groups", trust_env=False).raise_for_status().json()
        alerts = {alert["fingerprint"]: alert["labels"]["alertname"] for group in answer for alert in group["alerts"]}
        return {
            alert["labels"]["alertname"]: {
                "inhibited by": sorted({alerts[one] for one in alert["status"]["inhibitedBy"]}),
                "silenced by": alert["status"]["silencedBy"],
                "muted by": sorted(set(alert["status"]["mutedBy"])),
            }
            for group in answer
            for alert in group["alerts"]
        }


def shortened(config: dict[str, Any], endpoint: str) -> dict[str, Any]:
    """The configuration with no waiting, sending to the endpoint instead of the world."""
    config = deepcopy(config)
    config["templates"] = [str(CONFIG.parent / pattern) for pattern in config["templates"]]
    routes = [config["route"]]
    while routes:
        route = routes.pop()
        route.update({"group_wait": "0s", "group_interval": "1s"})
        routes += route.get("routes", ())
    named = {one["name"]: one for one in config["receivers"]}
    named["local"]["webhook_configs"][0]["url"] = f"{endpoint}/notifications"
    named["local-heartbeat"]["webhook_configs"][0]["url"] = f"{endpoint}/local-heartbeat"
    named["pagerduty"]["pagerduty_configs"][0]["url"] = f"{endpoint}/pagerduty"
    for name in ("opsgenie", "jsm"):
        named[name]["opsgenie_configs"][0]["api_url"] = f"{endpoint}/{name}/"
    return config


@contextmanager
def running(
    folder: Path, config: dict[str, Any] | None = None, notify: str = EVERYBODY, secrets: dict[str, str] | None = None
) -> Iterator[Alertmanager]:
    """A real Alertmanager with this configuration (the shipped one) `shortened`, and its receiver.

    Raises ToolError: it does not start.
    """
    receiver = Receiver()
    secret_files = folder / "secrets"
    secret_files.mkdir()
    for name, text in (SECRETS if secrets is None else secrets).items():
        (secret_files / name).write_text(text.format(endpoint=receiver.endpoint) + "\n", "utf-8")
    source = folder / "shortened.yml"
    source.write_text(yaml.safe_dump(shortened(config or shipped_configuration(), receiver.endpoint)), "utf-8")
    ports = replace(Ports.free(), grafana=Ports().grafana)  # which the links name
    part = components.alertmanager(folder, ports, secret_files, lambda _: None)
    target = folder / "alertmanager" / "alertmanager.yml"
    part = replace(part, prepare=lambda: rendered.render_alertmanager(source, target, ports, secret_files))
    with processes.running(part, folder), receiver.listening():
        yield Alertmanager(components.url("alertmanager", folder, ports), receiver, notify)


def shipped_configuration() -> dict[str, Any]:
    """The shipped configuration."""
    return dict(yaml.safe_load(CONFIG.read_text("utf-8")))


def example(name: str) -> dict[str, Any]:
    """An alert as Prometheus renders it: the first that the tests of its rule expect."""
    file = ROOT / "prometheus" / "tests" / f"{name}.yaml"
    for group in yaml.safe_load(file.read_text("utf-8"))["tests"]:
        for test in group.get("alert_rule_test", ()):
            for alert in test["exp_alerts"]:
                labels = {label: str(value) for label, value in alert["exp_labels"].items()}
                labels["alertname"] = test["alertname"]
                return {"labels": labels, "annotations": alert["exp_annotations"], "startsAt": STARTED}
    raise ValueError(f"{file} expects no alert")


def resolved(alert: dict[str, Any]) -> dict[str, Any]:
    """The same, over after 12 minutes."""
    return alert | {"endsAt": ENDED}


def page(folder: Path) -> str:
    """The examples: what each receiver is sent of one alert, and of its end."""
    name = "CriticalWebhookLatency"
    alert = example(name)
    with running(folder) as alertmanager:
        sent = alertmanager.receiver.sent
        alertmanager.post(alert)
        paths = ("/slack", "/pagerduty", "/opsgenie")
        until(lambda: all(map(sent, paths)), "all are told")
        alertmanager.post(resolved(alert))
        until(lambda: len(sent("/slack")) == 2, "Slack is told the end")
    slack, pagerduty, opsgenie = (sent(path)[0].body for path in paths)
    _shorten(pagerduty, "dedup_key")
    _shorten(opsgenie, "alias")
    parts = [
        _slack("Slack shows", slack["attachments"][0]),
        _slack("and at its end", sent("/slack")[1].body["attachments"][0]),
        _code("PagerDuty is sent", pagerduty),
        "At its end the same with `event_action` `resolve`.\n",
        _code("Opsgenie and Jira Service Management are sent", opsgenie),
        "At its end `POST …/v2/alerts/ALIAS/close`.\n",
    ]
    return "\n".join(parts)


def _slack(title: str, attachment: dict[str, Any]) -> str:
    buttons = ", ".join(one["text"] for one in attachment["actions"])
    text = "\n".join(f"> {line}" for line in attachment["text"].splitlines())
    shown = f"> **{attachment['title']}**\n>\n{text}\n>\n> Buttons: {buttons}\n"
    return f"{title}, its bar {_COLOURS[attachment['color']]}:\n\n{shown}"


def _code(title: str, body: dict[str, Any]) -> str:
    return f"{title}:\n```json\n{json.dumps(body, indent=1, ensure_ascii=False)}\n```\n"


def _shorten(body: dict[str, Any], field: str) -> None:
    body[field] = f"{body[field][:8]}…"


def rewritten(text: str) -> str:
    """The page with the examples of now."""
    with tempfile.TemporaryDirectory(prefix="notified-") as folder:
        return text.partition(_MARK)[0] + _MARK + page(Path(folder))
