"""What fires, and who was told."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape

from tools.base.clock import zone
from tools.base.errors import ToolError

COLOURS = {"critical": "bold red", "warning": "yellow", "info": "cyan"}
SHOWN = 10
FOLLOW_SECONDS = 1.0


@dataclass
class ActiveAlert:
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


def firing(alertmanager: str) -> list[ActiveAlert]:
    """All but the Watchdog, the worst first. Raises ToolError."""
    groups = _ask(f"{alertmanager}/api/v2/alerts/groups")
    names = {alert["fingerprint"]: alert["labels"]["alertname"] for group in groups for alert in group["alerts"]}
    found: dict[str, ActiveAlert] = {}
    for group in groups:
        for alert in group["alerts"]:
            since = datetime.fromisoformat(alert["startsAt"])
            one = found.setdefault(alert["fingerprint"], ActiveAlert(alert["labels"], alert["annotations"], since))
            status = alert["status"]
            one.receivers.add(group["receiver"]["name"])
            one.held_back_by |= {names.get(source, "another alert") for source in status["inhibitedBy"]}
            one.waits_for |= set(status["mutedBy"])
            one.silenced |= bool(status["silencedBy"])
    order = list(COLOURS)
    shown = [one for one in found.values() if one.name != "Watchdog"]
    return sorted(shown, key=lambda one: (order.index(one.labels["severity"]), one.since, one.name))


def show(console: Console, alertmanager: str, local: str, *, follow: bool) -> None:
    """Print what fires and what the local receiver got; go on with each new notification. Raises ToolError."""
    now = datetime.now(UTC)
    alerts = firing(alertmanager)
    console.print("[bold]Firing[/]" if alerts else "[bold]Nothing fires.[/]")
    for one in alerts:
        _print_firing(console, one, now)
    told = _ask(local)
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
        for notification in _ask(f"{local}?after={last}")["notifications"]:
            last = notification["number"]
            _print_notification(console, notification)


def _print_firing(console: Console, one: ActiveAlert, now: datetime) -> None:
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


def _ask(url: str) -> Any:
    try:
        return httpx.get(url, trust_env=False).raise_for_status().json()
    except httpx.HTTPError as error:
        raise ToolError(f"{url.partition('/api')[0]} does not answer as it should: {error}") from error
