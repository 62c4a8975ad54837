"""What is asked of all kinds of mutants."""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from tools.mutants.verdicts import M


def idle_reasons(file: Path, mutants: Sequence[M]) -> list[str]:
    """The patterns in a file of reasons that no mutant's name has."""
    patterns = [one["mutants"] for one in yaml.safe_load(file.read_text("utf-8"))]
    return [one for one in patterns if not any(re.search(one, mutant.name) for mutant in mutants)]
