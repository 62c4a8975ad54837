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
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from app.api.metrics_endpoint import summarise
from simulator import entry
from tools.base.files import SourceError, Sources
from tools.history import backtest
from tools.history.choice import choose
from tools.model import contract
from tools.model.collector_yaml import extras_text
from tools.model.consumers import Consumer, consumers
from tools.model.contract import Contract
from tools.plan import alerts
from tools.plan import changes as difference
from tools.plan.changes import Plan
from tools.plan.report import show
from tools.plan.timeline import picture
from tools.replay.version import CannotRunError, Version, cost_ratio, run_together
from tools.replay.workload import Workload
from tools.stack.programs import ProgramError, Report, ensure

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
    if _differ(base, edit, COLLECTOR) or extras_text(base) != extras_text(edit):
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
    contracts: tuple[Contract, Contract] = (workload.contracts[0], workload.contracts[-1])
    for outcome, documented in zip((before, after), contracts, strict=True):
        lanes = documented.by_name["lane_classification_total"].labels["lane"]
        outcome.summary = flat(summarise(outcome.exposition, lanes))
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
    except (SourceError, CannotRunError, ProgramError) as error:
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
