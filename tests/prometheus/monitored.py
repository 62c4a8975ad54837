"""What Prometheus knows, in raw samples: increase() extrapolates."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import httpx

from tests.collector.bench import own
from tools.base.otlp import send, traces
from tools.base.wait import until
from tools.model.expected import Labels, Samples, Seen, expected
from tools.stack.ports import HOST
from tools.stack.stack import Stack

History = dict[tuple[str, Labels], list[float]]
"""Each series' values in the order of their times, without repetitions: what a scrape confirmed is no news."""


@dataclass
class Monitored:
    """A running Collector, and the Prometheus that scrapes it."""

    stack: Stack
    client: httpx.Client
    sent: set[str] = field(default_factory=set)
    """The ids of all traces so far."""

    @property
    def target(self) -> str:
        """What Prometheus scrapes the derived metrics from."""
        return f"{HOST}:{self.stack.ports.collector_derived}"

    def send(self, spans: Iterable[Seen]) -> None:
        """Export these spans of the service's own scope."""
        specs = own(spans)
        send(f"{HOST}:{self.stack.ports.collector_grpc}", traces(specs), seconds=30)
        self.sent |= {spec.trace_id.hex() for spec in specs}

    def count(self, spans: list[Seen]) -> None:
        """Export these spans, the first of their series since the Collector's start, and wait until they are counted.

        A new counter shows 0 at its first flush and its value at the second, then Prometheus must come.
        """
        self.send(spans)
        wanted = expected(spans)
        until(lambda: wanted.items() <= self.samples().items(), "Prometheus has counted them", every=0.2)

    def api(self, path: str, **parameters: str) -> Any:
        """The data of an answer of Prometheus' API."""
        url = f"{self.stack.url('prometheus')}/api/v1/{path}"
        return self.client.get(url, params=parameters).raise_for_status().json()["data"]

    def query(self, expression: str) -> Samples:
        """The value of each derived series now."""
        return {
            self._key(row["metric"]): float(row["value"][1]) for row in self.api("query", query=expression)["result"]
        }

    def samples(self) -> Samples:
        """All derived series now."""
        return self.query('{job="healthcare-backend",instance!=""}')

    def history(self, selector: str = '{job="healthcare-backend",instance!=""}') -> History:
        """All samples of the last hour that differ from the one before."""
        rows = self.api("query", query=f"{selector}[1h]")["result"]
        return {self._key(row["metric"]): changes([float(value) for _, value in row["values"]]) for row in rows}

    def _key(self, labels: dict[str, str]) -> tuple[str, Labels]:
        """Name and labels as the exposition has them: the target is asserted here, a bucket's edge is 1.0 for 1."""
        labels = dict(labels)
        assert labels.pop("instance") == self.target
        if "le" in labels and labels["le"] != "+Inf":
            labels["le"] = f"{float(labels['le']):g}"
        return labels.pop("__name__", ""), frozenset(labels.items())


def changes(values: list[float]) -> list[float]:
    """Without those that equal the one before."""
    return [value for index, value in enumerate(values) if index == 0 or value != values[index - 1]]


def increments(values: list[float]) -> float:
    """What was counted, resets included: a value below the one before was counted from 0."""
    return sum(after - before if after >= before else after for before, after in pairwise(values))
