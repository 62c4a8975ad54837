"""`make check`: do the Collector's YAML, the contract, rules, dashboards and docs say the same?

Takes a second, nothing is started. What cannot be seen by looking, such as a statement that does something else than it
says, `make plan` finds by running it.
"""

import argparse
import json
import time

from rich.console import Console
from rich.markup import escape

from simulator import entry
from tools.base.files import Sources
from tools.check.repository import PROGRAMS, STATIC, check
from tools.stack.programs import ProgramError


def main(arguments: list[str] | None = None) -> int:
    """Print what is wrong; 0 if nothing is, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tools.commands.check", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    as_json = parser.parse_args(arguments).json
    console = Console(highlight=False, soft_wrap=True)
    started = time.monotonic()
    try:
        findings = check(Sources.of_disk())
    except ProgramError as error:
        console.print(f"[red]{escape(str(error))}[/]")
        return 1
    if as_json:
        print(json.dumps([{"file": one.file, "line": one.line, "text": one.text} for one in findings], indent=2))
    else:
        for one in findings:
            place = f"{one.file}:{one.line}" if one.line else one.file
            console.print(f"[bold]{escape(place)}[/] {escape(one.text)}")
        seconds = time.monotonic() - started
        done = f"{len(STATIC) + len(PROGRAMS)} checks in {seconds:.1f} s"
        console.print(f"[red]{len(findings)} wrong[/], {done}" if findings else f"[green]✓[/] all agree, {done}")
    return bool(findings)


if __name__ == "__main__":
    entry.run(main)
