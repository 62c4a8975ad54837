"""Write what is generated in docs/, or these pages."""

from collections.abc import Callable
from pathlib import Path

import click
import yaml

from tools.base.files import ROOT, Sources
from tools.check import alerts_page, metrics_page
from tools.model.consumers import consumers
from tools.model.contract import load
from tools.plan.timeline import picture
from tools.write import commands_page, notifications, plans


@click.command("docs", help=__doc__)
@click.argument("pages", nargs=-1, type=click.Choice(("commands", "metrics", "alerts", "plans", "notifications")))
@click.option(
    "--registry",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write the contract into this folder instead, as an OpenTelemetry semantic-convention registry.",
)
def command(pages: tuple[str, ...], registry: Path | None) -> None:
    if registry:
        _registry(registry)
        return
    writers: dict[str, Callable[[], None]] = {
        "commands": _commands,
        "metrics": _metrics,
        "alerts": _alerts,
        "plans": _plans,
        "notifications": _notifications,
    }
    for name in pages or writers:
        writers[name]()


def _write(path: str, text: str) -> None:
    (ROOT / path).write_text(text, "utf-8")
    click.echo(path)


def _commands() -> None:
    from tools.cli import SECTIONS, clinic

    _write(commands_page.PAGE, commands_page.page(clinic, SECTIONS))


def _metrics() -> None:
    sources = Sources.of_disk()
    _write(metrics_page.PAGE, metrics_page.page(load(sources), consumers(sources)))


def _alerts() -> None:
    for path, text in alerts_page.pages(Sources.of_disk()):
        _write(path, text)


def _plans() -> None:
    base = Sources.of_disk()
    for page in (plans.PAGE, plans.ALERTS):
        for title, text in plans.rewritten((ROOT / page).read_text("utf-8"), base):
            _write(page, text)
            click.echo(f"  {title}")
    picture(plans.pictured(base), ROOT / plans.PICTURE)
    click.echo(plans.PICTURE)


def _notifications() -> None:
    path = notifications.PAGE.relative_to(ROOT).as_posix()
    _write(path, notifications.rewritten(notifications.PAGE.read_text("utf-8")))


def _registry(folder: Path) -> None:
    contract = load(Sources.of_disk())
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in metrics_page.registry(contract).items():
        (folder / name).write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), "utf-8")
    click.echo(f"{len(contract.metrics)} metrics in {folder}")
