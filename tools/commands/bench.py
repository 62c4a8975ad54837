"""Measure what telemetry costs, beside what else one could pick.

A span, a message, a span in the Collector; growth, the way to Prometheus, and every process. On a stack of its own, in
about ten minutes; all of it writes docs/benchmarks.md, a part is only shown.

PARTS: spans, messages, calls, collector, growth, visible, processes.
"""

import tempfile
from pathlib import Path

import click

from tools.base.console import terminal
from tools.base.files import ROOT
from tools.bench.measured import PARTS, measure
from tools.bench.page import PAGE, PICTURE, lines, page, picture


@click.command("bench", help=__doc__)
@click.argument("parts", nargs=-1, type=click.Choice(PARTS), metavar="[PARTS]...")
@click.option("--rounds", type=click.IntRange(2), default=9, show_default=True, help="Of each comparison.")
@click.option(
    "--rate", type=click.FloatRange(0.1), default=50.0, show_default=True, help="Messages a second, of processes."
)
def command(parts: tuple[str, ...], rounds: int, rate: float) -> None:
    console = terminal()
    progress = terminal(errors=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, progress.status("starting") as status:
        found = measure(Path(folder) / "state", parts or PARTS, rounds, rate, lambda text: status.update(f"{text} …"))
    if found.calls and not found.messages:
        for name, count in found.calls.items():
            console.print(f"{name}: {count:.0f} Python calls a message")
    for line in lines(found):
        console.print(line, markup=False)
    if not parts:
        (ROOT / PAGE).write_text(page(found), "utf-8")
        (ROOT / PICTURE).write_text(picture(found), "utf-8")
        console.print(f"Written: {PAGE}, {PICTURE}")
