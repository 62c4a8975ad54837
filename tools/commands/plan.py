"""`make plan`: what does an edit of the Collector's YAML, of rules or of Alertmanager's routes change?

The Collector's YAML: runs the base's and the edited version in real Collectors on the same spans and compares what
comes out: metrics, labels, buckets, counts, exemplars, traces, cost; and which alerts, panels, rules and summary fields
go blind or change meaning.

Rules and routes: evaluates both versions over history by Prometheus' and Alertmanager's own packages and tells which
alerts fire when, how noisy they are, who is told, and who reads what changed.

Exit code: 0 nothing changes, 2 something changes, 1 it cannot run, breaks the contract, or lets patients' data out.
"""

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from simulator import entry
from tools.base.errors import ToolError
from tools.base.files import Sources
from tools.plan.compare import plan
from tools.plan.report import show
from tools.plan.timeline import picture


def main(arguments: list[str] | None = None) -> int:
    """Print the plan; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.commands.plan", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", nargs="?", default="HEAD", help="what to compare with: a commit, branch or tag")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    parser.add_argument("--no-cost", action="store_true", help="leave out the cost per span, which takes some seconds")
    parser.add_argument(
        "--history",
        default=os.environ.get("HISTORY", ""),
        help="of rules: a Prometheus' address, a folder of blocks, or `day` for the one that ships; "
        "default: the running stack's Prometheus if it has 6 hours, else the day",
    )
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw the alerts' timeline into a file too")
    given = parser.parse_args(arguments)
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        with errors.status("reading both versions …") as status:
            base, edit = Sources.of_commit(given.base), Sources.of_disk()
            found = plan(base, edit, not given.no_cost, given.history, lambda text: status.update(escape(text)))
    except ToolError as error:
        if given.json:
            print(json.dumps({"error": str(error), "exit_code": 1}, indent=2))
        else:
            errors.print(f"[bold red]cannot plan[/]: {escape(str(error))}")
        return 1
    if given.json:
        print(json.dumps(asdict(found) | {"exit_code": found.exit_code}, indent=2, ensure_ascii=False))
    else:
        show(found, Console(highlight=False, soft_wrap=True))
    if given.picture:
        picture(found, given.picture)
    return found.exit_code


if __name__ == "__main__":
    entry.run(main)
