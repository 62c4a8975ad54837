"""Do YAML, contract, rules, dashboards and docs agree?

Takes a second, nothing is started. What cannot be seen by looking, such as a statement that does something else than it
says, `plan` finds by running it. Exit code: 1 if something is wrong.
"""

import json
import time

import click
from rich.markup import escape

from tools.base.console import terminal
from tools.base.files import Sources
from tools.check.checks import PROGRAMS, STATIC, check


@click.command("check", help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(as_json: bool) -> int:
    console, started = terminal(), time.monotonic()
    findings = check(Sources.of_disk())
    if as_json:
        print(json.dumps([{"file": one.file, "line": one.line, "text": one.text} for one in findings], indent=2))
    else:
        for one in findings:
            place = f"{one.file}:{one.line}" if one.line else one.file
            console.print(f"[bold]{escape(place)}[/] {escape(one.text)}")
        done = f"{len(STATIC) + len(PROGRAMS)} checks in {time.monotonic() - started:.1f} s"
        console.print(f"[red]{len(findings)} wrong[/], {done}" if findings else f"[green]✓[/] all agree, {done}")
    return int(bool(findings))
