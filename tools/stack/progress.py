"""What `make up`, `make down` and `make status` show."""

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from tools.stack.damaged_queue import damaged_queues
from tools.stack.docker import Container

DONE = ("ready", "stopped", "built")


class _Seconds(ProgressColumn):
    def render(self, task: Task) -> Text:
        """How long it took, or takes since now."""
        return Text(f"{task.fields['seconds'] or time.monotonic() - task.fields['since']:6.1f} s")


class Display:
    """A line a component, with what it does and for how long; where nothing can move, a printed line for each news."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description:15}"),
            _Seconds(),
            TextColumn("{task.fields[state]}"),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def report(self, name: str, state: str) -> None:
        """Show a component's new state."""
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=1, state="", since=time.monotonic(), seconds=None)
        task = self._progress.tasks[self._tasks[name]]
        seconds = time.monotonic() - task.fields["since"]
        if state in DONE:
            self._progress.update(task.id, completed=1, state=state, seconds=seconds)
            self._print(f"{name}: {state} ({seconds:.1f} s)")
        else:
            self._progress.update(task.id, completed=0, state=state, since=time.monotonic(), seconds=None)
            if state not in ("starting", "stopping"):
                self._print(f"{name}: {state}")

    def _print(self, text: str) -> None:
        if not self._console.is_terminal:
            self._console.print(text, soft_wrap=True)


def print_status(console: Console, rows: Sequence[tuple[str, str, int | None, str]]) -> None:
    """A table of components by name, state, pid and address."""
    table = Table("component", "state", box=None, pad_edge=False)
    for title in ("pid", "CPU time", "memory"):
        table.add_column(title, justify="right")
    table.add_column("address", overflow="fold")
    for name, state, pid, url in rows:
        if pid is None:
            table.add_row(name, f"[red]{state}[/]")
        else:
            cpu, memory = _use(pid)
            table.add_row(name, f"[green]{state}[/]", str(pid), f"{cpu:.1f} s", f"{memory / 2**20:.0f} MiB", Text(url))
    console.print(table)


def print_containers(console: Console, containers: Sequence[Container]) -> None:
    """The same of containers, the stopped ones too; what they use `docker stats` shows."""
    table = Table("component", "state", "health", box=None, pad_edge=False)
    table.add_column("address", overflow="fold")
    for one in containers:
        colour = "yellow" if one.runs else "red"
        if one.done or (one.runs and one.health in ("", "healthy")):
            colour = "green"
        table.add_row(one.component, f"[{colour}]{'done' if one.done else one.state}[/]", one.health, Text(one.url))
    console.print(table)
    console.print("In Docker; CPU and memory: docker stats")


def _use(pid: int) -> tuple[float, int]:
    """CPU seconds and bytes of memory, children included and what they share counted once."""
    cpu, memory = 0.0, 0
    try:
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            times = member.cpu_times()
            cpu += times.user + times.system
            memory += member.memory_full_info().uss
    except psutil.Error:  # ended meanwhile, or another user's
        pass
    return cpu, memory


def print_damage(console: Console, folder: Path) -> None:
    """What of the Collector's queue was lost so far, if anything; `folder`: the stack's."""
    if kept := damaged_queues(folder):
        console.print(
            f"[yellow]Damaged queues of the Collector so far: {kept[-1].suffix[1:]}. The traces that waited in them "
            f"are lost, metrics are not.[/] The last is kept until you delete it: {escape(str(kept[-1]))}",
            soft_wrap=True,
        )


def print_addresses(console: Console, url: Callable[[str], str], names: Collection[str]) -> None:
    """Where to look, of the components that there are, and what to try."""
    dashboards = [("dashboards, in Grafana", url("grafana"))] if "grafana" in names else []
    traces = [(f"traces, in {store.capitalize()}", url(store)) for store in ("jaeger", "tempo") if store in names]
    for what, where in (
        *dashboards,
        ("health", f"{url('service')}/health"),
        ("key figures", f"{url('service')}/metrics/summary"),
        ("derived series, from the Collector", url("otel-collector")),
        ("derived series, in Prometheus", f"{url('prometheus')}/api/v1/query?query=webhook_requests_total"),
        *traces,
    ):
        console.print(f"  {what:35} {where}", soft_wrap=True)
    console.print("Try next: make load N=200, make trace, make alerts, make logs S=worker, make down", soft_wrap=True)
