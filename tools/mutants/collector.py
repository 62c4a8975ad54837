"""The checks are checked.

Every small break of the Collector's YAML, of the contract and of the service's redaction is tried; each must be caught
by `make check`, by the real Collector's `validate`, by `make plan` or by a test. Survivors need a reason:
collector.yaml beside this file has them, and names the tests that catch what a plan cannot see.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console

from tools.base.errors import CannotRunError
from tools.base.files import ROOT, SourceError, Sources
from tools.check.checks import static
from tools.check.metrics_page import writes_metrics_page
from tools.check.programs import validates
from tools.model import collector_yaml, contract
from tools.model.repository import Repository
from tools.mutants.of_files import FileMutant, of_python, of_yaml
from tools.mutants.verdicts import Choice, Verdict, progress, reason, report, said, some
from tools.plan import outcomes
from tools.replay.version import Replayed, Version
from tools.replay.workload import Workload

KNOWN = Path(__file__).with_suffix(".yaml")
REDACTION = tuple(f"service/app/observability/{name}.py" for name in ("wire", "contract", "logs"))
# What is there to catch a broken redaction: quick enough to be run for each mutant.
REDACTION_TESTS = (
    *(f"tests/unit/test_{name}.py" for name in ("allowlist", "spans", "logs", "observability", "export")),
    *(f"tests/process/test_{name}.py" for name in ("log_lines", "starting")),
)
SAMPLE_LOOKS = 20  # so many are looked at in a sample for each one that is run: looking is cheap


def mutants() -> list[FileMutant]:
    """All there are, in the order of the files."""
    sources = Sources.of_disk()
    found = [mutant for path in (collector_yaml.PATH, contract.PATH) for mutant in of_yaml(path, sources.text(path))]
    return found + [mutant for path in REDACTION for mutant in of_python(path, sources.text(path))]


def look(mutant: FileMutant) -> Verdict[FileMutant]:
    """Who catches it without starting anything."""
    if mutant.path in REDACTION:
        return Verdict(mutant)
    try:
        it = Repository(_shipped().edited(mutant.path, mutant.text))
    except SourceError:
        return Verdict(mutant, "check: schema")
    for rule in static(it):
        return Verdict(mutant, f"check: {rule}")
    return Verdict(mutant, "check: writes_metrics_page" if next(writes_metrics_page(it), None) else "")


def run(mutant: FileMutant) -> Verdict[FileMutant]:
    """Who catches it when it runs: the real Collector, or the tests of the service."""
    if mutant.path in REDACTION:
        return Verdict(mutant, _tested(mutant), reason(KNOWN, mutant))
    edited = _shipped().edited(mutant.path, mutant.text)
    if next(validates(Repository(edited)), None):
        return Verdict(mutant, "check: validates")
    return Verdict(mutant, _planned(edited) or _tested_by_name(mutant), reason(KNOWN, mutant))


def _planned(edited: Sources) -> str:
    """Which part of a plan tells it; empty if the Collector does all as before."""
    base = _base()
    try:
        outcome = _run(edited)
    except CannotRunError:
        return "plan: cannot run"
    changes = [
        *outcomes.leaks(base, outcome),
        *outcomes.contract(outcome, _workload().expected(_contract()), _contract()),
        *outcomes.metrics(base, outcome, (_contract(), _contract())),
        *outcomes.health(base, outcome),
        *outcomes.traces(base, outcome),
    ]
    return f"plan: {'leak' if changes[0].severity == 'leak' else changes[0].area}" if changes else ""


def _run(sources: Sources) -> Replayed:
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        version = Version(sources, Path(folder))
        with version.running():
            version.replay(_workload())
        return version.outcome


def _tested(mutant: FileMutant) -> str:
    """Whether a test of the service's redaction fails on a copy of the service with the mutant in it."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copied = Path(folder)
        shutil.copytree(ROOT / "service", copied / "service", ignore=shutil.ignore_patterns("__pycache__"))
        (copied / "otel-collector").symlink_to(ROOT / "otel-collector")
        (copied / mutant.path).write_text(mutant.text, "utf-8")
        return _failing(["-o", f"pythonpath={copied / 'service'} {ROOT}", *REDACTION_TESTS])


def _tested_by_name(mutant: FileMutant) -> str:
    """Whether the tests that collector.yaml names for it fail with the mutant in place of the shipped YAML."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(mutant.text, "utf-8")
        named = [str(one["test"]).split() for one in said(KNOWN, mutant) if "test" in one]
        return next(filter(None, (_failing(test, COLLECTOR_CONFIG=str(file)) for test in named)), "")


def _failing(arguments: Sequence[str], **environment: str) -> str:
    """The test that fails first; empty if none does."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env={key: text for key, text in os.environ.items() if key != "PYTHONPATH"} | environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    failed = re.search(r"^(?:FAILED|ERROR) \S*?(\w+\.py)", ran.stdout, re.MULTILINE)
    return f"test: {failed[1]}" if failed else ("test: nothing starts" if ran.returncode else "")


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
def _base() -> Replayed:
    return _run(_shipped())


def judged(chosen: Sequence[FileMutant], jobs: int, sample: int | None, console: Console) -> list[Verdict[FileMutant]]:
    """All looked at, and those that no look catches run; or a sample of both, the same every time."""
    chosen = some(chosen, sample and SAMPLE_LOOKS * sample)
    # Started afresh, not forked: gRPC does not survive a fork of a process that has used it.
    with progress(console) as bar, ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        looked = list(bar.track(pool.map(look, chosen, chunksize=20), len(chosen), description="looked at"))
        rest = some([verdict.mutant for verdict in looked if not verdict.caught_by], sample)
        ran = []
        for verdict in bar.track(pool.map(run, rest), len(rest), description="run"):
            ran.append(verdict)
            if not console.is_terminal:  # where nothing moves, a line shows that something happens
                console.print(f"{len(ran)} of {len(rest)}: {verdict.caught_by or verdict.reason or 'NOBODY'}")
    return [verdict for verdict in looked if verdict.caught_by] + ran


def judge(choice: Choice, console: Console) -> bool:
    """Try them; whether none survives without a reason. Of a sample: look at SAMPLE_LOOKS times as many as are run."""
    started = time.monotonic()
    chosen = choice.of(mutants())
    if choice.names_only:
        return True
    verdicts = judged(chosen, choice.jobs, choice.sample, console)
    parts = {collector_yaml.PATH: "Collector's YAML", contract.PATH: "contract", "service": "redaction"}
    return report(verdicts, parts, time.monotonic() - started, console, by_whom=True)
