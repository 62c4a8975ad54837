"""`/metrics` and `/metrics/summary` with several Collectors: Prometheus is asked, and says what all of them counted."""

import asyncio
import time
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from app.api import metrics_endpoint
from app.settings import Settings
from tests.collector.bench import own
from tests.collector.test_instruments import counter, gauge, process, shown
from tests.support import fleet
from tests.support.fleet import Fleet
from tools.base.otlp import metrics, traces
from tools.base.wait import until
from tools.model.expected import SHIPPED, Samples, Seen, expected, undocumented

EXACT = 1_953_125  # nanoseconds: 2⁻⁹ s, so that sums are exact
SPANS = [Seen("lane.classify", {"lane": lane}, EXACT) for lane in ("faq", "faq", "price", "complex")]
SPANS += [Seen("error.handled", {"component": "cache", "error.type": "timeout"})]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two Collectors, one Prometheus."""
    with fleet.running(tmp_path_factory.mktemp("two"), 2) as running:
        yield running


def ask(path: str, prometheus: str | None, collector: str = "http://127.0.0.1:1/metrics") -> httpx.Response:
    """The answer of a service with these settings."""
    app = FastAPI()
    app.include_router(metrics_endpoint.router)
    app.state.phase = "serving"
    app.state.settings = Settings(
        database_url=SecretStr("postgresql://"),
        webhook_secret=SecretStr("x"),
        prometheus_query_url=prometheus,
        collector_metrics_url=collector,
    )

    async def get() -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False) as app.state.http:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                return await client.get(path)

    return asyncio.run(get())


def parsed(text: str) -> Samples:
    """What an exposition has, but for zeros."""
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples if one.value]
    return {(one.name, frozenset(one.labels.items())): one.value for one in samples}


def test_prometheus_says_what_all_collectors_counted_as_one_would(two: Fleet) -> None:
    began = time.time_ns()
    for number in (0, 1):
        two.send(traces(own(SPANS)), number)
    wanted = expected(SPANS * 2)
    for number in (1, 2):
        wanted |= shown("mem0_write_queue_size", f"00{number}", 5)
        wanted |= shown("telemetry_spans_lost_total", f"00{number}", 2, reason="refused")
    url = two.stack.url("prometheus")

    def complete() -> bool:
        for number in (0, 1):  # as processes do, again and again
            instruments = [gauge(5), counter(2, since=began, reason="refused")]
            two.send(metrics(instruments, process(number + 1)), number)
        return parsed(ask("/metrics", url).text) == wanted

    until(complete, "Prometheus has all of it", every=0.5)
    answer = ask("/metrics", url)
    assert {undocumented(name, dict(labels)) for name, labels in parsed(answer.text)} == {""}
    assert answer.headers["x-metrics-from"] == "prometheus"
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {one.name: one for one in text_string_to_metric_families(answer.text)}
    for name, family in families.items():
        metric = SHIPPED.by_name.get(name) or SHIPPED.by_name[f"{name}_total"]
        assert (family.type, family.documentation) == (metric.type, metric.help)
    summary = ask("/metrics/summary", url)
    assert summary.headers["x-metrics-from"] == "prometheus"
    told = summary.json()
    assert told["lanes"] == {"faq": 4, "price": 2, "scheduling": 0, "complex": 2}
    assert (told["errors"]["total"], told["mem0"]["queue_size"]) == (2, 5)


def test_without_the_setting_the_one_collector_is_asked_and_the_answer_says_so(two: Fleet) -> None:
    url = f"http://{two.instance(0)}/metrics"
    for path in ("/metrics", "/metrics/summary"):
        answer = ask(path, None, url)
        assert (answer.status_code, answer.headers["x-metrics-from"]) == (200, "collector")


@pytest.mark.parametrize("path", ["/metrics", "/metrics/summary"])
def test_a_prometheus_that_does_not_answer_is_a_503_that_names_it(two: Fleet, path: str) -> None:
    for url in ("http://127.0.0.1:1", f"http://{two.instance(0)}"):  # nobody, and somebody else
        answer = ask(path, url)
        assert (answer.status_code, answer.headers["x-metrics-from"]) == (503, "prometheus")
        assert answer.json() == {"error": "Prometheus can't be reached, so there are no metrics now"}
