"""Prometheus' answers as arrays, a value for each point of a panel."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools.base.prometheus import Prometheus

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Answer:
    """One answered series; NaN where it has no value."""

    labels: dict[str, str]
    values: Numbers


def at_once(prometheus: Prometheus, expression: str, at: float) -> list[Answer]:
    """Each series' value at a time. Raises PrometheusError."""
    return [Answer(one.labels, np.array([one.value])) for one in prometheus.query(expression, at)]


def over(prometheus: Prometheus, expression: str, times: Sequence[int]) -> list[Answer]:
    """Each series' values at these times, which are equally far apart. Raises PrometheusError."""
    first, step = times[0], times[1] - times[0]
    answered = []
    for one in prometheus.range(expression, first, times[-1], step):
        values = np.full(len(times), np.nan)
        for at, value in one.points:
            values[round((at - first) / step)] = value
        answered.append(Answer(one.labels, values))
    return answered
