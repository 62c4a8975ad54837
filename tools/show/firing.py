"""What fires, who was told, and silences: `python -m tools.show.firing show|silence|unsilence`."""

import argparse
import getpass
import os
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Any

import httpx
import promql_parser as promql
from rich.console import Console
from rich.markup import escape

from simulator.entry import run
from tools.base.clock import zone
from tools.base.prometheus import Prometheus, PrometheusError
from tools.stack.components import ComponentError
from tools.stack.where import where

COLOURS = {"critical": "bold red", "warning": "yellow", "info": "cyan"}
SHOWN = 10
FOLLOW_SECONDS = 1.0


class AlertsError(Exception):
    """Alertmanager or the local receiver cannot be asked, or was asked for what there is not."""


@dataclass
class Firing:
    """An alert as Alertmanager has it now."""

    labels: dict[str, str]
    annotations: dict[str, str]
    since: datetime
    receivers: set[str] = field(default_factory=set)
    held_back_by: set[str] = field(default_factory=set)
    silenced: bool = False
    waits_for: set[str] = field(default_factory=set)
    """Names of time intervals outside of which it waits."""

    @property
    def name(self) -> str:
        """Its rule's name."""
        return self.labels["alertname"]

    @property
    def told(self) -> str:
        """Who knows of it, or why nobody does."""
        if self.held_back_by:
            return f"held back by {', '.join(sorted(self.held_back_by))}"
        if self.silenced:
            return "silenced"
        if self.waits_for:
            return f"waits for {', '.join(sorted(self.waits_for))}"
        return f"goes to {', '.join(sorted(self.receivers))}"


def firing(alertmanager: str) -> list[Firing]:
    """All but the Watchdog, the worst first. Raises AlertsError."""
    groups = _ask("GET", f"{alertmanager}/api/v2/alerts/groups")
    names = {alert["fingerprint"]: alert["labels"]["alertname"] for group in groups for alert in group["alerts"]}
    found: dict[str, Firing] = {}
    for group in groups:
        for alert in group["alerts"]:
            since = datetime.fromisoformat(alert["startsAt"])
            one = found.setdefault(alert["fingerprint"], Firing(alert["labels"], alert["annotations"], since))
            status = alert["status"]
            one.receivers.add(group["receiver"]["name"])
            one.held_back_by |= {names.get(source, "another alert") for source in status["inhibitedBy"]}
            one.waits_for |= set(status["mutedBy"])
            one.silenced |= bool(status["silencedBy"])
    order = list(COLOURS)
    shown = [one for one in found.values() if one.name != "Watchdog"]
    return sorted(shown, key=lambda one: (order.index(one.labels["severity"]), one.since, one.name))


def show(console: Console, alertmanager: str, local: str, *, follow: bool) -> None:
    """Print what fires and what the local receiver got; go on with each new notification. Raises AlertsError."""
    now = datetime.now(UTC)
    alerts = firing(alertmanager)
    console.print("[bold]Firing[/]" if alerts else "[bold]Nothing fires.[/]")
    for one in alerts:
        _print_firing(console, one, now)
    told = _ask("GET", local)
    console.print("\n[bold]Notifications[/]" if told["notifications"] else "\n[bold]Nobody was notified yet.[/]")
    for notification in told["notifications"][-SHOWN:]:
        _print_notification(console, notification)
    if told["heartbeat"] is None:
        console.print("\nThe Watchdog was not heard yet; it needs a minute.")
    else:
        console.print(f"\nThe Watchdog was heard {time.time() - told['heartbeat']:.0f} s ago, it comes once a minute.")
    last = max((one["number"] for one in told["notifications"]), default=0)
    while follow:
        time.sleep(FOLLOW_SECONDS)
        for notification in _ask("GET", f"{local}?after={last}")["notifications"]:
            last = notification["number"]
            _print_notification(console, notification)


def _print_firing(console: Console, one: Firing, now: datetime) -> None:
    severity = one.labels["severity"]
    minutes = (now - one.since).total_seconds() / 60
    quiet = one.held_back_by or one.silenced or one.waits_for
    colour = "dim" if quiet else COLOURS[severity]
    title = f"  [{colour}]{severity:8} {escape(one.name)}[/]  for {minutes:.0f} min, {escape(one.told)}"
    console.print(title, soft_wrap=True)
    if not quiet:
        console.print(f"           {escape(one.annotations['description'])}", soft_wrap=True)
        console.print(f"           [dim]{escape(one.annotations['runbook_url'])}[/]", soft_wrap=True)


def _print_notification(console: Console, kept: dict[str, Any]) -> None:
    notification = kept["notification"]
    at = datetime.fromtimestamp(kept["received"], zone()).strftime("%H:%M:%S")
    labels = notification["commonLabels"]
    over = notification["status"] == "resolved"
    colour = "green" if over else COLOURS[labels["severity"]]
    what = "over" if over else labels["severity"]
    summaries = "; ".join(dict.fromkeys(alert["annotations"]["summary"] for alert in notification["alerts"]))
    name = notification["groupLabels"]["alertname"]
    console.print(f"  {at} [{colour}]{what:8} {escape(name)}[/] – {escape(summaries)}", soft_wrap=True)


def silence(alertmanager: str, prometheus: str, name: str, duration: timedelta, why: str) -> datetime:
    """Tell nobody of an alert until the time that is returned. Raises AlertsError, PrometheusError."""
    with Prometheus(prometheus) as asked:
        names = [rule["name"] for rule in asked.rules() if rule["type"] == "alerting"]
    if name not in names:
        near = get_close_matches(name, names)
        raise AlertsError(f"{name} is no alert" + (f"; did you mean {' or '.join(near)}?" if near else ""))
    now = datetime.now(UTC)
    body = {
        "matchers": [{"name": "alertname", "value": name, "isRegex": False, "isEqual": True}],
        "startsAt": now.isoformat(),
        "endsAt": (now + duration).isoformat(),
        "createdBy": getpass.getuser(),
        "comment": why,
    }
    _ask("POST", f"{alertmanager}/api/v2/silences", body)
    return now + duration


def unsilence(alertmanager: str, name: str) -> int:
    """End the silences of an alert; returns how many. Raises AlertsError."""
    silences = _ask("GET", f'{alertmanager}/api/v2/silences?filter=alertname="{name}"')
    active = [one["id"] for one in silences if one["status"]["state"] != "expired"]
    for identifier in active:
        _ask("DELETE", f"{alertmanager}/api/v2/silence/{identifier}")
    return len(active)


def _ask(method: str, url: str, body: dict[str, Any] | None = None) -> Any:
    try:
        answer = httpx.request(method, url, json=body, trust_env=False).raise_for_status()
    except httpx.HTTPError as error:
        raise AlertsError(f"{url.partition('/api')[0]} does not answer as it should: {error}") from error
    return answer.json() if answer.content else None


def _duration(text: str) -> timedelta:
    if not re.fullmatch(r"0*[1-9]\d*[mhd]", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 30m, 2h or 1d")
    return promql.parse_duration(text)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.show.firing", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    showing = commands.add_parser("show", help="what fires and the newest notifications")
    showing.add_argument("--follow", action="store_true", help="go on with each new notification")
    silencing = commands.add_parser("silence", help="tell nobody of an alert for a while")
    silencing.add_argument("alert")
    silencing.add_argument("--for", dest="duration", type=_duration, default="1h", help="30m, 2h, 1d (%(default)s)")
    silencing.add_argument("--why", default="no reason given", help="who works on what; others read it")
    commands.add_parser("unsilence", help="end an alert's silences").add_argument("alert")
    options = parser.parse_args(arguments)
    console = Console(highlight=False)
    try:
        alertmanager = where("alertmanager")
        if options.command == "show":
            local = os.environ.get("NOTIFICATIONS_URL") or f"{where('simulator')}/notifications"
            show(console, alertmanager, local, follow=options.follow)
        elif options.command == "silence":
            until = silence(alertmanager, where("prometheus"), options.alert, options.duration, options.why)
            console.print(f"Nobody is told of {options.alert} until {until.astimezone(zone()):%H:%M on %d %B}.")
        else:
            console.print(f"Ended {unsilence(alertmanager, options.alert)} silences of {options.alert}.")
    except (AlertsError, PrometheusError, ComponentError) as error:
        console.print(f"[red]{escape(str(error))}[/]", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    run(main)
