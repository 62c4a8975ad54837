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
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click
from rich.markup import escape

from app.api.metrics_endpoint import summarise
from tools.base.console import terminal
from tools.base.errors import ToolError
from tools.base.files import Sources
from tools.history import backtest
from tools.history.choice import choose
from tools.model import contract
from tools.model.consumers import Consumer, consumers
from tools.model.contract import Contract
from tools.plan import alerts, timeline
from tools.plan import changes as difference
from tools.plan.changes import Plan
from tools.plan.report import show
from tools.replay.version import Version, cost_ratio, run_together
from tools.replay.workload import Workload
from tools.stack.programs import Report, ensure

COLLECTOR = "otel-collector/*.yaml"
NEVER = 600.0  # a flush interval longer than any plan


def plan(base: Sources, edit: Sources, cost: bool = True, history: str = "", report: Report = lambda _: None) -> Plan:
    """Compare the parts that are written differently.

    Args:
        base: what is compared with.
        edit: what was edited.
        cost: whether the Collector's cost per span is measured.
        history: over which rules are evaluated, as `tools.plan.history.choose` takes it.
        report: is told what is going on.

    Raises:
        SourceError: a file of either version cannot be read.
        CannotRunError: a Collector does not start, or ends; a rule or a route is refused.
        ProgramError: there is no program to run.
    """
    started = time.monotonic()
    found = Plan(base.name, edit.name)
    if _differ(base, edit, COLLECTOR):
        report("both versions take the same spans …")
        found = of_collectors(base, edit, cost)
    if _differ(base, edit, *backtest.FILES):
        alerts.judge(found, base, edit, choose(history, edit, report), report)
    found.seconds = time.monotonic() - started
    return found


def _differ(base: Sources, edit: Sources, *patterns: str) -> bool:
    texts = [{path: sources.text(path) for path in sources.matching(*patterns)} for sources in (base, edit)]
    return texts[0] != texts[1]


def of_collectors(base: Sources, edit: Sources, cost: bool = True) -> Plan:
    """Run both Collectors and compare."""
    ensure("otelcol")
    contracts = (contract.load(base), contract.load(edit))
    users = consumers(edit)
    workload = Workload(contracts)
    with tempfile.TemporaryDirectory(prefix="plan-") as folder, ExitStack() as stack:
        old, new = (Version(one, Path(folder) / name) for one, name in ((base, "base"), (edit, "edit")))
        pairs = [(old, new)]
        if cost:
            pairs.append(
                (Version(base, Path(folder) / "base-cost", NEVER), Version(edit, Path(folder) / "edit-cost", NEVER))
            )
        for pair in pairs:
            for version in pair:
                stack.enter_context(version.running())
        run_together((old, new), workload)
        ratio = cost_ratio(*pairs[1], workload) if cost else 1.0
    found = compare(old, new, workload, users)
    found.cost = ratio
    if not 1 / difference.NOISE < ratio < difference.NOISE:
        found.changes.append(difference.Change("cost", "changed", "CPU per span", f"{ratio:.1f} times the base's"))
    return found


def compare(old: Version, new: Version, workload: Workload, users: list[Consumer]) -> Plan:
    """What two versions that have run do differently."""
    before, after = old.outcome, new.outcome
    for outcome in (before, after):
        outcome.summary = flat(summarise(outcome.exposition))
    contracts: tuple[Contract, Contract] = (workload.contracts[0], workload.contracts[-1])
    found = Plan(old.name, new.name, series=(len(before.samples), len(after.samples)), spans=len(workload.sent))
    found.changes += difference.configuration(old.yaml, new.yaml)
    found.changes += difference.metrics(before, after, contracts)
    found.changes += difference.health(before, after)
    found.changes += difference.traces(before, after)
    found.changes += difference.leaks(before, after)
    found.changes += difference.contract(after, workload.expected(contracts[1]), contracts[1])
    found.effects += difference.effects(before, after, users)
    return found


def flat(summary: dict[str, dict[str, float | int]]) -> dict[str, float]:
    """The fields of /metrics/summary by their path."""
    return {f"{part}.{name}": number for part, fields in summary.items() for name, number in fields.items()}


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
