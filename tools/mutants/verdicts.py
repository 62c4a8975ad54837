"""What all that try mutants share: the choice, the progress, the verdicts and their report."""

import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import yaml
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_SEED = 1


class Named(Protocol):
    """A mutant: the file it changes, and where and what."""

    @property
    def path(self) -> str:
        """Of the file, from the repository's root."""
        ...

    @property
    def name(self) -> str:
        """Where and what."""
        ...


M = TypeVar("M", bound=Named)
T = TypeVar("T")


@dataclass(frozen=True)
class Verdict(Generic[M]):
    """What became of a mutant: who caught it, first of all; or nobody, and then why that is right."""

    mutant: M
    caught_by: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Choice:
    """Which mutants are tried, and how many at a time.

    `sample`: so many, the same ones every time; all without. `match`: a pattern of files and names. `names_only`: they
    are printed, none is tried.
    """

    sample: int | None = None
    match: str = ""
    jobs: int = os.cpu_count() or 1
    names_only: bool = False

    def of(self, mutants: Sequence[M]) -> list[M]:
        """Those that match; none, but printed, if only names are wanted."""
        chosen = [mutant for mutant in mutants if re.search(self.match, f"{mutant.path} {mutant.name}")]
        if self.names_only:
            print(*(f"{mutant.path}: {mutant.name}" for mutant in chosen), sep="\n")
            return []
        return chosen


def some(of: Sequence[T], number: int | None) -> list[T]:
    """A sample of so many, the same every time; all of them without a number."""
    return list(of) if number is None else random.Random(_SEED).sample(of, min(number, len(of)))  # noqa: S311


def progress(console: Console) -> Progress:
    """A bar; nothing where nothing can move."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def tried(chosen: Sequence[M], run: Callable[[M], Verdict[M]], jobs: int, console: Console, *, by_whom: bool) -> bool:
    """Try them and report, a part a file; whether all were caught or have a reason."""
    started = time.monotonic()
    with progress(console) as bar, ThreadPoolExecutor(jobs) as pool:
        verdicts = list(bar.track(pool.map(run, chosen), len(chosen), description="tried"))
    parts = {mutant.path: mutant.path for mutant in chosen}
    return report(verdicts, parts, time.monotonic() - started, console, by_whom=by_whom)


def said(file: Path, mutant: Named) -> list[dict[str, str]]:
    """What a file of reasons has of a mutant: entries whose `mutants` (a pattern) and `file`, if there, fit."""
    entries: list[dict[str, str]] = yaml.safe_load(file.read_text("utf-8")) or []
    return [
        one for one in entries if one.get("file", mutant.path) == mutant.path and re.search(one["mutants"], mutant.name)
    ]


def reason(file: Path, mutant: Named) -> str:
    """Why nobody needs to catch it; empty without one."""
    return next((one["reason"] for one in said(file, mutant) if "reason" in one), "")


def report(
    verdicts: Sequence[Verdict[M]], parts: Mapping[str, str], seconds: float, console: Console, *, by_whom: bool
) -> bool:
    """Print it, for each part (its title by the beginning of its paths); whether all were caught or have a reason."""
    for path, title in parts.items():
        of_part = [verdict for verdict in verdicts if verdict.mutant.path.startswith(path)]
        caught = Counter(verdict.caught_by for verdict in of_part if verdict.caught_by)
        console.print(f"[bold]{title}[/]: {len(of_part)} tried, {caught.total()} caught")
        for who, number in caught.most_common() if by_whom else ():
            console.print(f"  {number:5} {who}")
    survivors = [verdict for verdict in verdicts if not verdict.caught_by]
    for why, number in Counter(verdict.reason for verdict in survivors if verdict.reason).most_common():
        console.print(f"  {number:5} survive: {escape(why)}")
    unexplained = [verdict for verdict in survivors if not verdict.reason]
    for verdict in unexplained:
        console.print(f"[red]nobody catches[/] {escape(verdict.mutant.path)}: {escape(verdict.mutant.name)}")
    console.print(f"{len(verdicts)} mutants in {seconds:.0f} s, {len(unexplained)} survive without a reason")
    return not unexplained
