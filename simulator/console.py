"""`python -m simulator load` in the terminal: progress, what was sent, and whether Prometheus counted the same."""

import asyncio
import time
from dataclasses import dataclass

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from simulator import counts
from simulator.load import Report, send_async
from simulator.messages import generate
from simulator.settings import SimulatorError

VERIFY_SECONDS = 60.0  # flush 5 s and scrape 5 s make 10; the rest is for a slow machine
POLL_SECONDS = 0.5
HEADINGS = dict(zip(counts.METRICS, ("counted", "in the histogram"), strict=True))


@dataclass(frozen=True)
class Plan:
    """What to send and where to, and where to look what was counted."""

    messages: int
    rate: float
    seed: int
    url: str
    secret: str
    prometheus_url: str
    verify: bool
    quiet: bool
    everyday: bool


def run(plan: Plan, console: Console) -> bool:
    """Send, compare, print. True if all is as it should be. Raises SimulatorError."""
    _reach(plan.url)
    before = counts.read(plan.prometheus_url) if plan.verify else {}
    report = Report()
    try:
        _send(plan, console, report)
    except KeyboardInterrupt:
        _print_table(plan, console, report, {})
        console.print("[yellow]Stopped early: what was counted is not compared.[/]")
        return False
    if plan.verify:
        added, seconds = _wait_until_counted(plan, console, before, report)
    else:
        added, seconds = {}, None
    _print_table(plan, console, report, added)
    _print_unanswered(console, report)
    requests = report.answered.total()
    if not plan.verify:
        console.print(f"{requests} requests answered; what was counted is not compared.")
        return not report.given_up
    if seconds is not None:
        console.print(f"[green]sent = counted: {requests} requests, {seconds:.1f} s after the last answer.[/]")
        return not report.given_up
    counted = " and ".join(str(rows.total()) for rows in added.values())
    console.print(
        f"[red]sent ≠ counted: {requests} sent, {counted} counted {VERIFY_SECONDS:.0f} s after the last answer.[/] "
        "Other traffic is counted too, and a restart of the Collector begins its counts anew."
    )
    return False


def _reach(url: str) -> None:
    try:
        httpx.get(f"{url}/health", timeout=5.0, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SimulatorError(
            f"no service at {url} ({type(error).__name__}): start it with `make up`, or set --url"
        ) from error


def _progress(plan: Plan, console: Console) -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, console=console, disable=plan.quiet or not console.is_terminal, transient=True)


def _send(plan: Plan, console: Console, report: Report) -> None:
    with _progress(plan, console) as progress:
        task = progress.add_task("sending", total=plan.messages)
        deliveries = generate(plan.seed, plan.messages, everyday=plan.everyday)
        asyncio.run(send_async(deliveries, plan.url, plan.secret, plan.rate, report, lambda: progress.advance(task)))


def _wait_until_counted(
    plan: Plan, console: Console, before: counts.Counts, report: Report
) -> tuple[counts.Counts, float | None]:
    """What Prometheus added; the seconds from the last answer until that equalled what was sent, None if never."""
    with _progress(plan, console) as progress:
        task = progress.add_task("counting", total=report.answered.total())
        while True:
            added = counts.since(before, counts.read(plan.prometheus_url))
            seconds = time.monotonic() - report.last_answer
            progress.update(task, completed=min(rows.total() for rows in added.values()))
            if all(rows == report.answered for rows in added.values()):
                return added, seconds
            if seconds > VERIFY_SECONDS:
                return added, None
            time.sleep(POLL_SECONDS)


def _print_table(plan: Plan, console: Console, report: Report, added: counts.Counts) -> None:
    if plan.quiet:
        return
    table = Table("lane", "status", box=None, pad_edge=False, header_style="bold")
    for heading in ("sent", *(HEADINGS[metric] for metric in added)):
        table.add_column(heading, justify="right")
    counted_rows = {row for rows in added.values() for row, number in rows.items() if number}
    for row in sorted(set(report.answered) | counted_rows):
        sent, counted = report.answered[row], [rows[row] for rows in added.values()]
        sign = "=" if all(number == sent for number in counted) else "≠"
        verdict = f"[{'green' if sign == '=' else 'red'}]sent {sign} counted[/]" if added else ""
        table.add_row(*row, *map(str, (sent, *counted)), verdict)
    console.print(table)
    seconds = report.last_answer - report.started
    quantiles = "   ".join(f"P{q * 100:.0f} {report.latency(q) * 1000:.1f} ms" for q in (0.5, 0.95, 0.99))
    console.print(f"\n{report.finished} messages in {seconds:.1f} s, seed {plan.seed}\nlatency {quantiles}")


def _print_unanswered(console: Console, report: Report) -> None:
    if report.unanswered or report.retries:
        console.print(
            f"[yellow]{report.retries} attempts were repeats, {report.unanswered} had no answer (counted or not, "
            f"nobody knows), {report.given_up} messages were given up.[/]"
        )
