"""What does my edit change?

An edit of the Collector's YAML, of Prometheus' rules or of Alertmanager's routes. BASE is what to compare the working
tree with: a commit, branch or tag; HEAD without it.

The Collector's YAML: runs both versions in real Collectors on the same spans and compares what comes out: metrics,
labels, buckets, counts, exemplars, traces, cost; and which alerts, panels, rules and summary fields go blind or change
meaning.

Rules and routes: evaluates both versions over history by Prometheus' and Alertmanager's own packages and tells which
alerts fire when, how noisy they are, who is told, and who reads what changed.

Exit code: 0 nothing changes, 2 something changes, 1 it cannot run, breaks the contract, or lets patients' data out.
"""

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.markup import escape

from tools.base.console import terminal
from tools.base.errors import ToolError
from tools.base.files import Sources
from tools.plan import timeline
from tools.plan.compare import plan
from tools.plan.report import show


@click.command("plan", help=__doc__)
@click.argument("base", default="HEAD")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.option("--no-cost", is_flag=True, help="Leave out the cost per span, which takes some seconds.")
@click.option(
    "--history",
    envvar="HISTORY",
    default="",
    help="Of rules: a Prometheus' address, a folder of blocks, or `day` for the one that ships; without it the running "
    "stack's Prometheus if it has 6 hours, else the day.",
)
@click.option("--picture", type=click.Path(path_type=Path), metavar="FILE.svg", help="Draw the alerts' timeline too.")
def command(base: str, as_json: bool, no_cost: bool, history: str, picture: Path | None) -> int:
    errors = terminal(errors=True)
    try:
        with errors.status("reading both versions …") as status:
            versions = Sources.of_commit(base), Sources.of_disk()
            found = plan(*versions, not no_cost, history, lambda text: status.update(escape(text)))
    except ToolError as error:
        if not as_json:
            raise ToolError(f"cannot plan: {error}") from error
        print(json.dumps({"error": str(error), "exit_code": 1}, indent=2))
        return 1
    if as_json:
        print(json.dumps(asdict(found) | {"exit_code": found.exit_code}, indent=2, ensure_ascii=False))
    else:
        show(found, terminal())
    if picture:
        timeline.picture(found, picture)
    return found.exit_code
