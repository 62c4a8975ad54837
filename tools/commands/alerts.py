"""Show what fires, and who was told."""

import os

import click

from tools.base.console import terminal
from tools.show.firing import show
from tools.stack.where import where


@click.command("alerts", help=__doc__)
@click.option("--follow", is_flag=True, help="Go on with each new notification.")
def command(follow: bool) -> None:
    alertmanager = where("alertmanager")
    local = os.environ.get("NOTIFICATIONS_URL") or f"{where('simulator')}/notifications"
    show(terminal(), alertmanager, local, follow=follow)
