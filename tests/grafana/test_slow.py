"""From a spike to its trace in the terminal: what was slow, by lane, out of a real Collector, Prometheus and Jaeger."""

import io
import re
import time
from collections.abc import Iterator

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from rich.console import Console

from tools.base import otlp
from tools.base.errors import ToolError
from tools.base.otlp import FASTAPI, Spec
from tools.base.prometheus import Exemplar, Prometheus
from tools.base.wait import until
from tools.cli import run
from tools.model.dashboard import Panel, shipped_dashboards
from tools.show import slow, trace
from tools.show.preview.content import ask
from tools.stack.ports import HOST, Ports
from tools.stack.stack import Stack

# Seconds by lane, and one whose trace the store does not have.
SENT = {"faq": [0.04, 0.05, 0.06, 0.15], "price": [1.7, 0.08], "complex": [0.9]}


def webhook(lane: str, seconds: float) -> Spec:
    """A request as the service tells it."""
    known = {"http.route": "/webhooks/evolution", "http.request.method": "POST", "http.response.status_code": 200}
    attributes = known | {"lane": lane, "status": "success"}
    return Spec("POST /webhooks/evolution", attributes, int(seconds * 1e9), FASTAPI, Span.SPAN_KIND_SERVER)


@pytest.fixture(scope="module")
def sent() -> dict[tuple[str, float], Spec]:
    """By lane and seconds."""
    return {(lane, seconds): webhook(lane, seconds) for lane, many in SENT.items() for seconds in many}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, sent: dict[tuple[str, float], Spec]) -> Iterator[Stack]:
    """One to which these were sent, until all that can be an exemplar is one."""
    stack = Stack(tmp_path_factory.mktemp("slow"), Ports.free(), store="jaeger")
    try:
        stack.up(only=("otel-collector", "prometheus", "jaeger"))
        otlp.send(f"{HOST}:{stack.ports.collector_grpc}", otlp.traces(sent.values()))
        with Prometheus(stack.url("prometheus")) as prometheus:
            until(lambda: len(trace.exemplars(prometheus, time.time())) >= 6, "exemplars are scraped", 40)
        yield stack
    finally:
        stack.remove()


@pytest.fixture
def environment(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """The commands look at it."""
    monkeypatch.setenv("PROMETHEUS_URL", stack.url("prometheus"))
    monkeypatch.setenv("JAEGER_URL", stack.url("jaeger"))
    monkeypatch.setenv("TEMPO_URL", f"http://{HOST}:1")
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest-xdist sets it
    return stack


def rows(text: str) -> list[list[str]]:
    """The table's cells."""
    lines = text.partition("\n\n")[0].splitlines()[1:-1]
    return [re.split(r"\s{2,}", line.strip()) for line in lines]


@pytest.mark.usefixtures("environment")
def test_the_slowest_of_each_lane_are_listed_and_the_slowest_trace_is_drawn(
    sent: dict[tuple[str, float], Spec], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["slow"]) == 0
    told = capsys.readouterr().out
    listed = rows(told)
    assert [row[0] for row in listed if len(row) == 5] == ["price", "complex", "faq"]
    assert [row[1] for row in listed if len(row) == 5] == ["1.70 s", "900.0 ms", "150.0 ms"]
    assert {row[-1] for row in listed} <= {spec.trace_id.hex() for spec in sent.values()}
    slowest = sent["price", 1.7].trace_id.hex()
    assert listed[0][-1] == slowest
    assert f"trace {slowest}   1 spans   1.70 s" in told
    assert "POST /webhooks/evolution server lane=price status=success status_code=200" in told


@pytest.mark.usefixtures("environment")
def test_of_one_lane_only_that_lane_is_told(
    sent: dict[tuple[str, float], Spec], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["slow", "faq"]) == 0
    told = capsys.readouterr().out
    assert [row[0] for row in rows(told) if len(row) == 5] == ["faq"]
    assert f"trace {sent['faq', 0.15].trace_id.hex()}" in told


@pytest.mark.usefixtures("environment")
def test_the_usual_of_a_lane_is_the_quantile_that_the_dashboard_shows(stack: Stack) -> None:
    def usual() -> dict[str, float]:
        with Prometheus(stack.url("prometheus")) as prometheus:
            return slow.p95(prometheus, time.time())

    until(lambda: usual().keys() == SENT.keys(), "two scrapes are there", 30)
    assert usual() == {
        "faq": pytest.approx(0.1 + 0.1 * (0.95 * 4 - 3)),  # buckets: 0.05 two, 0.1 one, 0.2 one
        "price": pytest.approx(1 + (0.95 * 2 - 1) * (2 - 1)),
        "complex": pytest.approx(0.5 + 0.95 * (1 - 0.5)),
    }


@pytest.mark.usefixtures("environment")
def test_what_changed_since_a_time_is_told_without_an_alert(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["why", "--since", "10m"]) == 0
    told = capsys.readouterr().out
    assert "The service sends nothing: it is down, stands still, " in told  # it was never started here
    assert "| | before | during |" in told.splitlines()


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["scheduling"], 1, "clinic: no request of the lane scheduling in the last 15m: run `make load`"),
        (["premium"], 2, "there is no lane premium; did you mean price?"),
    ],
)
def test_what_cannot_be_shown_is_told_in_a_line(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["slow", *arguments]) == code
    assert words in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.usefixtures("environment")
def test_a_prometheus_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROMETHEUS_URL", f"http://{HOST}:1")
    assert run(["slow"]) == 1
    assert capsys.readouterr().err.startswith("clinic: Prometheus at http://127.0.0.1:1 does not answer (ConnectError)")


def test_traces_that_nobody_stored_are_told_after_the_table(stack: Stack) -> None:
    console = Console(file=io.StringIO(), width=160)
    another = f"{stack.url('jaeger')}/api/v3/traces/f{{0:.31}}"  # ids that it was never sent
    with (
        Prometheus(stack.url("prometheus")) as prometheus,
        pytest.raises(ToolError, match="the store has none of these traces"),
    ):
        slow.show(console, "", prometheus, (another,))


def test_the_preview_has_of_each_point_the_slowest_exemplar_whose_trace_is_stored(
    stack: Stack, sent: dict[tuple[str, float], Spec]
) -> None:
    dashboard = shipped_dashboards()[0]
    latency = next(one for one in dashboard.opened if one.title.startswith("Request Latency"))
    now = int(time.time())
    with Prometheus(stack.url("prometheus")) as prometheus:
        found = ask(latency, dashboard, prometheus, now - 15 * 60, now).exemplars
        without = ask(Panel(latency.data | {"targets": latency.targets[:1]}), dashboard, prometheus, now - 900, now)
    slowest = sent["price", 1.7].trace_id.hex()
    assert [one.trace_id for one in found] == [slowest]
    assert found[0].value == pytest.approx(1.7)
    assert len(trace.fetch(found[0].trace_id, [stack.url("jaeger") + trace.STORES["jaeger"]])) == 1
    assert without.exemplars == []


def test_of_each_lane_the_three_slowest_are_shown_lanes_by_their_slowest() -> None:
    many = [("faq", 0.1), ("faq", 0.4), ("price", 0.9), ("faq", 0.2), ("faq", 0.3), ("complex", 0.35)]
    found = slow.by_lane([Exemplar({"lane": lane}, 0, seconds, f"{seconds}") for lane, seconds in many])
    assert {lane: [one.value for one in listed] for lane, listed in found.items()} == {
        "price": [0.9],
        "faq": [0.4, 0.3, 0.2],
        "complex": [0.35],
    }
    assert list(found) == ["price", "faq", "complex"]
