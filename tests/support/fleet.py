"""Several Collectors with the shipped YAML, and the Prometheus that scrapes each and takes what each pushes.

Flush and scrape are a second, where five are shipped: it is their ratio that matters.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import yaml

from tests.prometheus.monitored import History, changes
from tools.base.otlp import Request, send
from tools.base.otlp_sink import Sink
from tools.base.wait import until
from tools.replay.collector import Collector
from tools.stack.ports import Ports
from tools.stack.processes import Component
from tools.stack.stack import Stack

SECONDS = 1


class Watching(Stack):
    """A Prometheus with the shipped configuration whose targets are these Collectors."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Ports.free())
        self.collectors: Sequence[Collector] = ()

    def _component(self, name: str, *arguments: Any, **more: Any) -> Component:
        part = super()._component(name, *arguments, **more)
        return replace(part, prepare=lambda: self._aim(part)) if name == "prometheus" else part

    def _aim(self, part: Component) -> None:
        part.prepare()
        file = self.folder / "prometheus" / "prometheus.yml"
        config = yaml.safe_load(file.read_text("utf-8").replace(": 5s", f": {SECONDS}s"))
        for job, port in (("otel-collector-derived", "derived"), ("otel-collector", "own")):
            [scraped] = (one for one in config["scrape_configs"] if one["job_name"] == job)
            scraped["static_configs"] = [{"targets": [getattr(one, port) for one in self.collectors]}]
        file.write_text(yaml.safe_dump(config), "utf-8")


@dataclass
class Fleet:
    """The Collectors, in their order, and what Prometheus has of them."""

    collectors: list[Collector]
    stack: Watching
    client: httpx.Client
    store: Sink

    def send(self, request: Request, *order: int) -> int:
        """Export to the first of these Collectors, all by default, that takes it; the number of that one.

        As the service does: what was refused, or could not be sent, goes to another.
        """
        for number in order or range(len(self.collectors)):
            try:
                send(self.collectors[number].grpc, request)
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE, error  # noqa: PT017
            else:
                return number
        raise AssertionError("no Collector takes it")

    def instance(self, number: int) -> str:
        """The label of what Prometheus scrapes from one."""
        return self.collectors[number].derived

    def api(self, path: str, **parameters: str) -> Any:
        """The data of an answer of Prometheus' API."""
        url = f"{self.stack.url('prometheus')}/api/v1/{path}"
        return self.client.get(url, params=parameters).raise_for_status().json()["data"]

    def history(self, selector: str) -> History:
        """Each series' values of the last hour, without repetitions; its labels but for the name."""
        rows = self.api("query", query=f"{selector}[1h]")["result"]
        return {
            (row["metric"].pop("__name__"), frozenset(row["metric"].items())): changes(
                [float(value) for _, value in row["values"]]
            )
            for row in rows
        }

    def query(self, expression: str) -> dict[frozenset[tuple[str, str]], float]:
        """An instant query."""
        rows = self.api("query", query=expression)["result"]
        return {frozenset(row["metric"].items()): float(row["value"][1]) for row in rows}

    def all_are_scraped(self) -> None:
        """Wait until Prometheus has reached every port of every Collector."""
        wanted = 2 * len(self.collectors)
        expression = 'up{job=~"otel-collector.*"} == 1'
        until(lambda: len(self.query(expression)) == wanted, "all Collectors are scraped", every=0.2)


@contextmanager
def running(folder: Path, size: int) -> Iterator[Fleet]:
    """So many Collectors with one Prometheus, all ready, stopped at the end whatever happens in between."""
    stack = Watching(folder / "stack")
    with ExitStack() as exits:
        store = exits.enter_context(Sink().listening())
        pushed = stack.url("prometheus")
        stack.collectors = [
            Collector(folder / f"collector-{number}", store.endpoint, interval=f"{SECONDS}s", prometheus=pushed)
            for number in range(size)
        ]
        exits.callback(stack.remove)
        for one in stack.collectors:
            one.start()
            exits.callback(_end, one)
        stack.up(only=("prometheus",))
        client = exits.enter_context(httpx.Client(timeout=10, trust_env=False))
        fleet = Fleet(list(stack.collectors), stack, client, store)
        fleet.all_are_scraped()
        yield fleet


def _end(collector: Collector) -> None:
    if collector.process.poll() is None:
        collector.stop()
