"""How figures are got on a machine that has other things to do: CPU time, in rounds, each with all that is compared.

What is compared runs at the same time, in short turns and random order, so that a neighbour's load meets all alike; a
ratio is taken within a round, and the median of the rounds is told with its quartiles.
"""

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psutil

Figures = Mapping[str, Sequence[float]]
"""By the name of what was measured: a figure of each round."""


@dataclass(frozen=True)
class Spread:
    """A median with its quartiles."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> "Spread":
        """Of at least two figures."""
        low, middle, high = statistics.quantiles(figures, n=4, method="inclusive")
        return cls(low, middle, high)

    def text(self, digits: int = 2) -> str:
        """For a cell: `1.43 (1.38 to 1.51)`."""
        return f"{self.middle:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def ratio(figures: Figures, of: str, to: str) -> Spread:
    """What one took of what the other took, round by round."""
    return Spread.of([one / other for one, other in zip(figures[of], figures[to], strict=True)])


def in_turns(names: Sequence[str], rounds: int, turn: Callable[[str], float]) -> dict[str, list[float]]:
    """Let each have its turn in each round; returns what the turns say."""
    order = random.Random(7)  # noqa: S311 - not a secret
    figures: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in order.sample(list(names), len(names)):
            figures[name].append(turn(name))
    return figures


def cpu_seconds(pid: int) -> float:
    """CPU time that all threads of a process have used so far, those that ended too."""
    try:
        return time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3) of Linux: psutil's ticks are 10 ms
    except OSError:
        return float(sum(psutil.Process(pid).cpu_times()[:2]))
