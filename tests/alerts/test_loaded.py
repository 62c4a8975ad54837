"""The real programs show what the rules ask for, and the real Prometheus loads them all."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.alerts.conftest import RULES
from tests.collector.test_instruments import gauge, process
from tools.base.files import Sources
from tools.base.otlp import Spec, metrics, send, traces
from tools.base.otlp_sink import Sink
from tools.base.wait import until
from tools.model import contract
from tools.model.rules import rules_of
from tools.replay.collector import Collector
from tools.stack.ports import Ports
from tools.stack.stack import Stack
from tools.write.notifications import running

HEALTH = contract.load(Sources.of_disk()).health
SPAN = Spec("lane.classify", {"lane": "faq"}, 1_953_125)
Shown = dict[str, tuple[str, set[str]]]
"""Type and labels of each metric."""


def shown(exposition: str) -> Shown:
    """The metrics of a text, by their very names: the library's parser would rename counters without `_total`."""
    found: Shown = {}
    for line in exposition.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            found[name] = (kind, set())
        elif line and not line.startswith("#"):
            name, brace, rest = line.partition("{")
            labels = {pair.partition("=")[0] for pair in rest.partition("}")[0].split(",")} if brace else set()
            if name in found:
                found[name][1].update(labels)
    return found


def documented(job: str) -> Shown:
    """What the contract says of a job's health."""
    return {one.name: (one.type, set(one.labels)) for one in HEALTH if one.job == job}


@pytest.fixture
def store() -> Iterator[Sink]:
    """A trace store."""
    with Sink().listening() as sink:
        yield sink


@pytest.fixture
def pushed_to() -> Iterator[Sink]:
    """What stands for Prometheus' OTLP receiver."""
    with Sink("http/protobuf").listening() as sink:
        yield sink


def test_the_collector_shows_every_metric_of_its_health_that_rules_use(
    store: Sink, pushed_to: Sink, tmp_path: Path
) -> None:
    documented_ones = documented("otel-collector")
    small = ["exporters::otlp_grpc::sending_queue::queue_size: 3000"]
    small += [f"exporters::otlp_http/prometheus::endpoint: http://{pushed_to.endpoint}"]

    def those(collector: Collector) -> Shown:
        return {name: what for name, what in shown(collector.own_exposition()).items() if name in documented_ones}

    with (collector := Collector(tmp_path, store.endpoint, changes=small)).running():
        send(collector.grpc, traces([SPAN] * 5), seconds=10)
        until(store.spans, "the store has some")
        store.answer("reject")
        send(collector.grpc, traces([SPAN] * 5), seconds=10)
        until(lambda: "otelcol_exporter_send_failed_spans" in those(collector), "some are refused for good")
        store.answer("refuse")

        def full() -> bool:
            send(collector.grpc, traces([SPAN] * 20), seconds=10)
            return "otelcol_exporter_enqueue_failed_spans" in those(collector)

        until(full, "the queue is full")
        push = metrics([gauge(1)], process(1))
        send(collector.grpc, push, seconds=10)
        until(lambda: pushed_to.metrics, "what is pushed is taken")
        pushed_to.answer("refuse")
        send(collector.grpc, push, seconds=10)
        until(lambda: "otelcol_exporter_send_failed_metric_points" in those(collector), "what is pushed is refused")
        assert those(collector) == documented_ones


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one with the shipped configuration."""
    stack = Stack(tmp_path_factory.mktemp("stack"), Ports.free(), store="jaeger")
    try:
        stack.up(only=("prometheus",))
        yield stack.url("prometheus")
    finally:
        stack.remove()


def test_prometheus_loads_every_rule(prometheus: str) -> None:
    answer = httpx.get(f"{prometheus}/api/v1/rules", trust_env=False).raise_for_status().json()["data"]
    loaded = [rule["name"] for group in answer["groups"] for rule in group["rules"]]
    shipped = [rule.get("alert") or rule["record"] for document in RULES.values() for rule in rules_of(document)]
    assert sorted(loaded) == sorted(shipped)


def test_alertmanager_shows_every_metric_of_its_health_that_rules_use(tmp_path: Path) -> None:
    with running(tmp_path) as alertmanager:
        text = httpx.get(f"{alertmanager.url}/metrics", trust_env=False).raise_for_status().text
    wanted = documented("alertmanager")
    assert {name: what for name, what in shown(text).items() if name in wanted} == wanted


def test_prometheus_shows_every_metric_of_its_health_that_rules_use(prometheus: str) -> None:
    wanted = documented("prometheus")

    def complete() -> bool:
        text = httpx.get(f"{prometheus}/metrics", trust_env=False).raise_for_status().text
        return {name: what for name, what in shown(text).items() if name in wanted} == wanted

    until(complete, "all are there, once the first group was evaluated")
