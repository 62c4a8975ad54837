"""How a plan looks in a terminal."""

from collections.abc import Iterator
from itertools import groupby

from rich.console import Console
from rich.markup import escape

from tools.plan import timeline
from tools.plan.changes import Change, Effect, Plan

MARKS = {
    "leak": "[bold white on red]![/]",
    "broken": "[bold red]✗[/]",
    "gone": "[red]-[/]",
    "changed": "[yellow]~[/]",
    "new": "[green]+[/]",
}
TITLES = {
    "configuration": "What the YAML says",
    "metrics": "What Prometheus sees",
    "traces": "What the trace store gets",
    "cost": "What it costs",
    "rules": "What the rules say",
    "routes": "What Alertmanager's routes say",
    "firings": "What fires",
    "notifications": "Who is told",
    "contract": "What the contract says",
}
VERDICTS = {
    0: "[bold green]Nothing changes[/] in what comes out.",
    1: "[bold red]Do not ship this[/]: it breaks the contract. If it is meant, change otel-collector/metrics.yaml too.",
    2: "[bold yellow]It does what the contract says[/], and changes what is listed above.",
}


def show(plan: Plan, console: Console) -> None:
    """Print it."""
    console.print(f"[bold]{escape(plan.edit)}[/] against [bold]{escape(plan.base)}[/]")
    for area, changes in groupby(plan.changes, key=lambda change: change.area):
        console.print(f"\n[bold]{TITLES[area]}[/]")
        for subjects, group in _together(list(changes)):
            _subjects(console, subjects, group)
    _effects(console, plan.effects)
    if rows := timeline.draw(plan):
        console.print("\n[bold]When it fires[/]")
        for row in rows:
            console.print(row)
    console.print(f"\n{VERDICTS[plan.exit_code]}")
    console.print(f"[dim]{', '.join([*_numbers(plan), f'{plan.seconds:.1f} s'])}[/]")


def _numbers(plan: Plan) -> Iterator[str]:
    if plan.spans:
        before, after = plan.series
        yield f"{plan.spans} spans, {before} → {after} samples, CPU per span {plan.cost:.2f}×"
    if plan.history:
        yield f"{(plan.end - plan.start) / 3600:.3g} hours of {escape(plan.history)}"


def _together(changes: list[Change]) -> list[tuple[list[str], list[Change]]]:
    """What is said of each subject; subjects of which the same is said come together."""
    said: dict[str, list[Change]] = {}
    for change in changes:
        said.setdefault(change.subject, []).append(change)
    alike: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for subject, group in said.items():
        alike.setdefault(tuple((change.severity, change.text) for change in group), []).append(subject)
    return [(subjects, said[subjects[0]]) for subjects in alike.values()]


def _subjects(console: Console, subjects: list[str], changes: list[Change]) -> None:
    title = escape(", ".join(subjects))
    if len(changes) == 1 and len(subjects) == 1:
        console.print(f"  {MARKS[changes[0].severity]} [bold]{title}[/]  {escape(changes[0].text)}")
        return
    console.print(f"    [bold]{title}[/]")
    for change in changes:
        console.print(f"      {MARKS[change.severity]} {escape(change.text)}")


def _effects(console: Console, effects: list[Effect]) -> None:
    colours = {"goes blind": "red", "changes meaning": "yellow", "is touched": "yellow"}
    for what, group in groupby(effects, key=lambda effect: effect.what):
        console.print(f"\n[bold {colours[what]}]Who {what}[/]")
        for effect in group:
            through = f"  through {', '.join(effect.samples)}" if effect.samples else ""
            console.print(f"  {escape(effect.who)}  [dim]{escape(effect.where)}{escape(through)}[/]")
