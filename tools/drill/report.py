"""What a drill shows: a table that lives in a terminal, elsewhere a line for each news; a table at the end."""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tools.base.files import ROOT
from tools.drill.faults import ROUNDS
from tools.drill.run import Result
from tools.drill.watch import WATCHDOG, Progress
from tools.stack.ports import Ports

STEPS = ("pending", "firing", "notified", "resolved", "cleared")
_SAID = {
    "pending": "pending",
    "firing": "firing",
    "notified": "notification received",
    "resolved": "resolved",
    "cleared": '"resolved" received',
}
_SAID_OF_WATCHDOG = _SAID | {"notified": "its heartbeat is missed", "cleared": "its heartbeat is back"}
_FIRST_COMMAND = re.compile(r"```sh\n(.*)\n")


class LiveScreen:
    """Shows a round while it goes on."""

    def __init__(self, console: Console, ports: Ports) -> None:
        self._console = console
        self._ports = ports
        self._phase, self._since = "", time.monotonic()
        self._progress: Mapping[str, Progress] = {}
        self._told: set[tuple[str, str]] = set()
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def phase(self, text: str) -> None:
        """What is being done now."""
        self._phase, self._since = text, time.monotonic()
        self._print(f"{text} …")

    def show(self, progress: Mapping[str, Progress]) -> None:
        """How far the alerts are."""
        self._progress = progress
        for one in progress.values():
            said = _SAID_OF_WATCHDOG if one.alert == WATCHDOG else _SAID
            for step in STEPS:
                seconds = getattr(one, step)
                if seconds is not None and (one.alert, step) not in self._told:
                    self._told.add((one.alert, step))
                    self._print(f"  {one.alert}: {said[step]} after {seconds:.0f} s")

    def _print(self, text: str) -> None:
        if not self._console.is_terminal:
            self._console.print(escape(text), soft_wrap=True)

    def _render(self) -> Group:
        phase = Text(f"{self._phase} … {time.monotonic() - self._since:.0f} s", style="bold")
        hints = [Text(line, style="dim") for name in self._progress for line in hints_of(name, self._ports)]
        return Group(phase, table_of(self._progress.values()), *hints)


def hints_of(alert: str, ports: Ports) -> list[str]:
    """The runbook, and the first thing to look at, in a stack with these ports."""
    page = f"docs/runbooks/{alert}.md"
    match = _FIRST_COMMAND.search((ROOT / page).read_text("utf-8"))
    return [f"{page}: {ports.instead(match[1])}" if match else page]


def table_of(progress: Iterable[Progress]) -> Table:
    """One line an alert."""
    table = Table("alert", box=None, pad_edge=False, header_style="bold")
    for step in STEPS:
        table.add_column(step, justify="right")
    for one in progress:
        table.add_row(one.alert, *(_seconds(getattr(one, step)) for step in STEPS))
    return table


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} s"


def print_results(console: Console, results: Sequence[Result]) -> None:
    """The table at the end; seconds since the fault began, then since it ended."""
    table = Table("alert", "fault", box=None, pad_edge=False, header_style="bold")
    for step in STEPS:
        table.add_column(step, justify="right")
    table.add_column("")
    for result in results:
        verdict = "[green]seen[/]" if result.good else f"[red]{_missing(result)}[/]"
        table.add_row(result.progress.alert, result.fault.name, *_cells(result.progress), verdict)
    console.print(table)
    console.print("What make why said first:")
    for result in results:
        console.print(f"  {result.progress.alert}: {escape(result.why)}")


def _cells(one: Progress) -> list[str]:
    silent = "–" if one.not_notified else ""
    return [_seconds(getattr(one, step)) or (silent if step in ("notified", "cleared") else "") for step in STEPS]


def _missing(result: Result) -> str:
    one = result.progress
    if one.early:
        return "fired before"
    wanted = [step for step in STEPS if not (one.not_notified and step in ("notified", "cleared"))]
    missing = [step for step in wanted if getattr(one, step) is None]
    return "not " + ", ".join(missing if result.named else [*missing, "named by make why"])


def markdown(results: Iterable[Result]) -> str:
    """The same for docs/drills.md."""
    lines = [
        "| alert | fault | pending | firing | notified | resolved | cleared | named |",
        "|---|---|--:|--:|--:|--:|--:|---|",
    ]
    for result in results:
        cells = " | ".join(_cells(result.progress))
        lines.append(
            f"| [{result.progress.alert}](runbooks/{result.progress.alert}.md) | {result.fault.name} | {cells} |"
            f" {'yes' if result.named else 'no'} |"
        )
    return "\n".join(lines) + "\n"


def print_list(console: Console) -> None:
    """What can be drilled."""
    table = Table("alert", "fault", "what it does", box=None, pad_edge=False, header_style="bold")
    for faults in ROUNDS:
        for fault in faults:
            for alert in fault.alerts:
                table.add_row(alert, fault.name, fault.what)
    console.print(table)
    console.print("One of them: make drill ALERT=NAME. All: make drill ALERT=all")
