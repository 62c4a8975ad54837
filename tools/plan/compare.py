"""Two versions of the repository's files: what does the edited one do differently?"""

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from app.api.metrics_endpoint import summarise
from tools.base.files import Sources
from tools.history import backtest
from tools.history.choice import choose
from tools.model import contract
from tools.model.collector_yaml import extras_text
from tools.model.consumers import Consumer, consumers
from tools.model.contract import Contract
from tools.plan import alerts, outcomes
from tools.plan.changes import Change, Plan
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
        history: over which rules are evaluated, as `tools.history.choice.choose` takes it.
        report: is told what is going on.

    Raises:
        SourceError: a file of either version cannot be read.
        CannotRunError: a Collector does not start, or ends.
        CannotRunError: there is no such history, or a rule or a route is refused.
        ToolError: there is no program to run.
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
    if not 1 / outcomes.NOISE < ratio < outcomes.NOISE:
        found.changes.append(Change("cost", "changed", "CPU per span", f"{ratio:.1f} times the base's"))
    return found


def compare(old: Version, new: Version, workload: Workload, users: list[Consumer]) -> Plan:
    """What two versions that have run do differently."""
    before, after = old.outcome, new.outcome
    contracts: tuple[Contract, Contract] = (workload.contracts[0], workload.contracts[-1])
    for outcome, documented in zip((before, after), contracts, strict=True):
        lanes = documented.by_name["lane_classification_total"].labels["lane"]
        outcome.summary = flat(summarise(outcome.exposition, lanes))
    found = Plan(old.name, new.name, series=(len(before.samples), len(after.samples)), spans=len(workload.sent))
    found.changes += outcomes.configuration(old.yaml, new.yaml)
    found.changes += outcomes.metrics(before, after, contracts)
    found.changes += outcomes.health(before, after)
    found.changes += outcomes.traces(before, after)
    found.changes += outcomes.leaks(before, after)
    found.changes += outcomes.contract(after, workload.expected(contracts[1]), contracts[1])
    found.effects += outcomes.effects(before, after, users)
    return found


def flat(summary: dict[str, dict[str, float | int]]) -> dict[str, float]:
    """The fields of /metrics/summary by their path."""
    return {f"{part}.{name}": number for part, fields in summary.items() for name, number in fields.items()}
