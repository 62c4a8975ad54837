"""What is asked of all kinds of mutants."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from tools.mutants.verdicts import M, Verdict, some


def unexplained(mutants: Sequence[M], run: Callable[[M], Verdict[M]], number: int) -> list[str]:
    """Of a sample, those that nobody catches and that have no reason."""
    verdicts = [run(mutant) for mutant in some(mutants, number)]
    return [verdict.mutant.name for verdict in verdicts if not verdict.caught_by and not verdict.reason]


def idle_reasons(file: Path, mutants: Sequence[M]) -> list[str]:
    """The patterns in a file of reasons that no mutant's name has."""
    patterns = [one["mutants"] for one in yaml.safe_load(file.read_text("utf-8"))]
    return [one for one in patterns if not any(re.search(one, mutant.name) for mutant in mutants)]
