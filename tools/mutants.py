"""`make mutants`: the checks are checked.

Every small break of the Collector's YAML, of the contract and of the service's redaction is tried; each must be caught
by `make check`, by the real Collector's `validate`, by `make plan` or by a test. Survivors need a reason in mutants.yaml
beside this file. Exit code: 0 if none is without, else 1.
"""

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.api.metrics_endpoint import summarise
from tools import collector_yaml, contract
from tools.check import Checked, static, validates, writes_metrics_page
from tools.mutations import Mutant, of_python, of_yaml
from tools.plan import difference
from tools.plan.__main__ import flat
from tools.plan.running import CannotRunError, Outcome, Version
from tools.plan.workload import Workload
from tools.sources import ROOT, SourceError, Sources

REASONS = ROOT / "tools" / "mutants.yaml"
REDACTION = tuple(f"service/app/observability/{name}.py" for name in ("allowlist", "contract", "logs"))
# What is there to catch a broken redaction: quick enough to be run for each mutant.
REDACTION_TESTS = ("tests/unit/test_observability.py", "tests/unit/test_export.py", "tests/unit/test_logs.py")
SEED = 1


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: who caught it, first of all; or nobody, and then why that is right."""

    mutant: Mutant
    caught_by: str = ""
    reason: str = ""


def mutants() -> list[Mutant]:
    """All there are, in the order of the files."""
    sources = Sources.of_disk()
    found = [mutant for path in (collector_yaml.PATH, contract.PATH) for mutant in of_yaml(path, sources.text(path))]
    return found + [mutant for path in REDACTION for mutant in of_python(path, sources.text(path))]


def judge(mutant: Mutant, run: bool = True) -> Verdict:
    """Who catches it; without `run` only those who start nothing are asked."""
    if mutant.path in REDACTION:
        return Verdict(mutant, _tested(mutant) if run else "", _reason(mutant))
    edited = _shipped().edited(mutant.path, mutant.text)
    try:
        it = Checked(edited)
    except SourceError:
        return Verdict(mutant, "check: schema")
    for rule in static(it):
        return Verdict(mutant, f"check: {rule}")
    if mutant.path == contract.PATH:
        return Verdict(mutant, "check: writes_metrics_page" if [*writes_metrics_page(it)] else "", _reason(mutant))
    if not run:
        return Verdict(mutant)
    if [*validates(it)]:
        return Verdict(mutant, "check: validates")
    return Verdict(mutant, _planned(edited), _reason(mutant))


def _planned(edited: Sources) -> str:
    """Which part of a plan tells it; empty if the Collector does all as before."""
    base = _base()
    try:
        outcome = _run(edited)
    except CannotRunError:
        return "plan: cannot run"
    changes = [
        *difference.leaks(base, outcome),
        *difference.contract(outcome, _workload().expected(_contract()), _contract()),
        *difference.metrics(base, outcome, (_contract(), _contract())),
        *difference.traces(base, outcome),
    ]
    return f"plan: {'leak' if changes[0].severity == 'leak' else changes[0].area}" if changes else ""


def _run(sources: Sources) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        version = Version(sources, Path(folder))
        with version.running():
            version.replay(_workload())
        version.outcome.summary = flat(summarise(version.outcome.exposition))
        return version.outcome


def _tested(mutant: Mutant) -> str:
    """Whether a test of the service's redaction fails on a copy of the service with the mutant in it."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copied = Path(folder)
        shutil.copytree(
            ROOT / "service" / "app", copied / "service" / "app", ignore=shutil.ignore_patterns("__pycache__")
        )
        (copied / "otel-collector").symlink_to(ROOT / "otel-collector")
        (copied / mutant.path).write_text(mutant.text, "utf-8")
        options = ["-x", "-q", "-p", "no:cacheprovider", "-o", f"pythonpath={copied / 'service'} {ROOT}"]
        run = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *REDACTION_TESTS],
            cwd=ROOT,
            env={key: text for key, text in os.environ.items() if key != "PYTHONPATH"},
            capture_output=True,
            text=True,
            check=False,
        )
    failed = re.search(r"^(?:FAILED|ERROR) \S*?(\w+\.py)", run.stdout, re.MULTILINE)
    return f"test: {failed[1]}" if failed else ("test: the service does not start" if run.returncode else "")


@cache
def _shipped() -> Sources:
    """The working tree, read once."""
    sources = Sources.of_disk()
    texts = {path: sources.text(path) for path in sources.paths if path.endswith((".yaml", ".yml", ".md", ".json"))}
    return Sources("the shipped one", tuple(texts), texts.__getitem__)


@cache
def _contract() -> contract.Contract:
    return contract.load(_shipped())


@cache
def _workload() -> Workload:
    return Workload((_contract(),))


@cache
def _base() -> Outcome:
    return _run(_shipped())


@cache
def _reasons() -> list[dict[str, Any]]:
    return yaml.safe_load(REASONS.read_text("utf-8")) or []


def _reason(mutant: Mutant) -> str:
    return next(
        (one["reason"] for one in _reasons() if one["file"] == mutant.path and re.search(one["mutants"], mutant.name)),
        "",
    )


def judged(chosen: Sequence[Mutant], jobs: int, console: Console) -> Iterator[Verdict]:
    """The verdicts, with a bar that shows how far it is."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
        ProcessPoolExecutor(jobs) as pool,
    ):
        task = progress.add_task("mutants", total=len(chosen))
        futures: list[Future[Verdict]] = [pool.submit(judge, mutant) for mutant in chosen]
        for future in futures:
            yield future.result()
            progress.advance(task)


def sampled(all_of_them: Sequence[Mutant], size: int) -> list[Mutant]:
    """So many of those that no static look catches, the same every time, and all others, which cost little."""
    quick = [mutant for mutant in all_of_them if mutant.path not in REDACTION and judge(mutant, run=False).caught_by]
    rest = [mutant for mutant in all_of_them if mutant not in quick]
    return quick + random.Random(SEED).sample(rest, min(size, len(rest)))  # noqa: S311


def report(verdicts: Sequence[Verdict], seconds: float, console: Console) -> bool:
    """Print it; whether all were caught or have a reason."""
    for path, name in (
        (collector_yaml.PATH, "Collector's YAML"),
        (contract.PATH, "contract"),
        ("service", "redaction"),
    ):
        of_file = [verdict for verdict in verdicts if verdict.mutant.path.startswith(path)]
        caught = Counter(verdict.caught_by for verdict in of_file if verdict.caught_by)
        console.print(f"[bold]{name}[/]: {len(of_file)} tried, {caught.total()} caught")
        for who, number in caught.most_common():
            console.print(f"  {number:5} {who}")
    survivors = [verdict for verdict in verdicts if not verdict.caught_by]
    with_reason = Counter(verdict.reason for verdict in survivors if verdict.reason)
    for reason, number in with_reason.most_common():
        console.print(f"  {number:5} survive: {reason}")
    unexplained = [verdict for verdict in survivors if not verdict.reason]
    for verdict in unexplained:
        console.print(f"[red]nobody catches[/] {verdict.mutant.path}: {verdict.mutant.name}", markup=True)
    console.print(f"{len(verdicts)} mutants in {seconds:.0f} s, {len(unexplained)} survive without a reason")
    return not unexplained


def main(arguments: list[str] | None = None) -> int:
    """Try them; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description=__doc__)
    parser.add_argument("--sample", type=int, metavar="N", help="run only N of those that no static look catches")
    parser.add_argument("--match", default="", metavar="REGEX", help="only mutants whose file or name matches")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--list", action="store_true", help="print their names, try none")
    given = parser.parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    chosen = [mutant for mutant in mutants() if re.search(given.match, f"{mutant.path} {mutant.name}")]
    if given.list:
        for mutant in chosen:
            print(f"{mutant.path}: {mutant.name}")
        return 0
    started = time.monotonic()
    if given.sample is not None:
        chosen = sampled(chosen, given.sample)
    verdicts = list(judged(chosen, given.jobs, console))
    return 0 if report(verdicts, time.monotonic() - started, console) else 1


if __name__ == "__main__":
    sys.exit(main())
