"""Two stretches of time, and what a query says of each."""

import math
from dataclasses import dataclass

from tools.base.prometheus import Exemplar, Prometheus

SHORTEST_SECONDS = 20  # a rate needs two scrapes


@dataclass(frozen=True)
class Window:
    """From when to when, in Unix seconds."""

    start: float
    end: float

    @property
    def seconds(self) -> int:
        """How long, but never so short that there are no rates."""
        return max(SHORTEST_SECONDS, round(self.end - self.start))


@dataclass(frozen=True)
class Change:
    """A value before and during an incident."""

    before: float
    during: float

    @property
    def more(self) -> float:
        """By how much it rose; what was not there before was 0."""
        return self.during - (0.0 if math.isnan(self.before) else self.before)

    def rose(self, times: float) -> bool:
        """Whether it is so many times what it was; true where there was nothing."""
        return math.isnan(self.before) or self.during > times * self.before


class Comparison:
    """Asks one Prometheus the same of both stretches. Each question raises PrometheusError.

    Args:
        prometheus: is asked.
        before: what is usual.
        during: the incident.
        alerted: an alert is about it, so that a small change is worth telling.
    """

    def __init__(self, prometheus: Prometheus, before: Window, during: Window, *, alerted: bool = False) -> None:
        self.before, self.during, self.alerted = before, during, alerted
        self._prometheus = prometheus

    def of_an_alert(self) -> "Comparison":
        """The same, where an alert is about it."""
        return Comparison(self._prometheus, self.before, self.during, alerted=True)

    def changes(self, expression: str, *labels: str, missing: float = 0.0) -> dict[str, Change]:
        """By the values of these labels, with `/` between them.

        Args:
            expression: PromQL; `[window]` stands for the stretch.
            labels: whose values tell the results apart.
            missing: stands where a stretch has no value.
        """
        found = [self._values(expression, window, labels) for window in (self.before, self.during)]
        keys = dict.fromkeys([*found[1], *found[0]])
        return {key: Change(*(values.get(key, missing) for values in found)) for key in keys}

    def change(self, expression: str, missing: float = 0.0) -> Change:
        """Of an expression with one result."""
        return self.changes(expression, missing=missing).get("", Change(missing, missing))

    def rates(self, selector: str, *labels: str) -> dict[str, Change]:
        """A counter's events a second."""
        return self.changes(f"sum by ({', '.join(labels)}) (rate({selector}[window]))", *labels)

    def rate(self, selector: str) -> Change:
        """A counter's events a second, over all its series."""
        return self.rates(selector).get("", Change(0.0, 0.0))

    def p95(self, metric: str, selector: str = "", *labels: str) -> dict[str, Change]:
        """A histogram's, in seconds; NaN where nothing was measured."""
        by = ", ".join([*labels, "le"])
        return self.changes(
            f"histogram_quantile(0.95, sum by ({by}) (rate({metric}_bucket{{{selector}}}[window])))",
            *labels,
            missing=math.nan,
        )

    def exemplars(self, metric: str, window: Window) -> list[Exemplar]:
        """Of a histogram, one a trace, by time."""
        found = self._prometheus.exemplars(f"{metric}_bucket", window.start, window.end)
        return list({one.trace_id: one for one in found}.values())

    def _values(self, expression: str, window: Window, labels: tuple[str, ...]) -> dict[str, float]:
        samples = self._prometheus.query(expression.replace("[window]", f"[{window.seconds}s]"), window.end)
        return {
            "/".join(one.labels.get(label, "") for label in labels): one.value
            for one in samples
            if not math.isnan(one.value)
        }
