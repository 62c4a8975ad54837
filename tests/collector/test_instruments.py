"""The two OpenTelemetry metrics pass as documented; no other metric passes at all."""

import time
from typing import Any

import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric

from tests.collector.bench import Bench
from tools.base.otlp import SERVICE, attributes, metrics, send, send_http, value
from tools.model.contract import JOB
from tools.model.expected import SHIPPED, Samples
from tools.replay.collector import OPEN_METRICS

CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
GAUGE, COUNTER = "mem0.write_queue_size", "telemetry.spans.lost"
CANARY = "CANARY Maria +55 11 91234-5678"


def gauge(number: int, name: str = GAUGE, **labels: Any) -> Metric:
    """A gauge with one point, described wrongly."""
    metric = Metric(name=name, unit="1", description=CANARY)
    metric.gauge.data_points.add(as_int=number, time_unix_nano=time.time_ns(), attributes=attributes(labels))
    return metric


def counter(
    number: int,
    name: str = COUNTER,
    temporality: Any = CUMULATIVE,
    monotonic: bool = True,
    since: int = 0,
    **labels: Any,
) -> Metric:
    """A counter with one point, described wrongly; it began at `since`, nanoseconds since 1970, or a second ago."""
    metric = Metric(name=name, unit="ms", description=CANARY)
    metric.sum.aggregation_temporality, metric.sum.is_monotonic = temporality, monotonic
    metric.sum.data_points.add(
        as_int=number,
        start_time_unix_nano=since or time.time_ns() - 1_000_000_000,
        time_unix_nano=time.time_ns(),
        attributes=attributes(labels),
    )
    return metric


def process(number: int) -> dict[str, str]:
    """The resource of one process of the service."""
    return {**SERVICE, "service.instance.id": f"{instance(number)}00000-0000-4000-8000-000000000000"}


def instance(number: int) -> str:
    """What is shown of its id."""
    return f"{number:03x}"


def shown(name: str, instance: str, number: float, **labels: str) -> Samples:
    """One sample as Prometheus must see it."""
    return {(name, frozenset({"job": JOB, "instance": instance, **labels}.items())): number}


def test_each_process_has_its_own_series(bench: Bench) -> None:
    for number in (1, 2):
        instruments = [gauge(5 + number), counter(number, reason="queue_full"), counter(10 * number, reason="shutdown")]
        send(bench.collector.grpc, metrics(instruments, process(number)))
    wanted: Samples = {}
    for number in (1, 2):
        wanted |= shown("mem0_write_queue_size", instance(number), 5 + number)
        wanted |= shown("telemetry_spans_lost_total", instance(number), number, reason="queue_full")
        wanted |= shown("telemetry_spans_lost_total", instance(number), 10 * number, reason="shutdown")
    assert bench.samples() == wanted
    assert types_and_help(bench) == {(metric.type, metric.help) for metric in SHIPPED.instruments.values()}


def types_and_help(bench: Bench) -> set[tuple[str, str]]:
    """As the exposition says."""
    return {(family.type, family.documentation) for family in bench.collector.families()}


def test_every_reason_of_the_contract_passes_and_no_other(bench: Bench) -> None:
    reasons = SHIPPED.by_name["telemetry_spans_lost_total"].labels["reason"]
    for reason in reasons:
        send(bench.collector.grpc, metrics([counter(1, reason=reason)], process(3)))
    of_process = [labels for _, labels in bench.samples() if ("instance", instance(3)) in labels]
    assert {dict(labels)["reason"] for labels in of_process} == set(reasons)
    wrong: list[Any] = [CANARY, "", None, True, 5511912345678, b"queue_full", ["queue_full"], {"queue_full": 1}]
    for number, reason in enumerate(wrong, start=4):
        send(bench.collector.grpc, metrics([counter(7, reason=reason)], process(number)))
        other = shown("telemetry_spans_lost_total", instance(number), 7, reason="other")
        assert other.items() <= bench.samples().items(), reason


def test_attributes_texts_and_exemplars_of_a_sender_do_not_pass(bench: Bench) -> None:
    planted: dict[str, Any] = {"patient": CANARY, "instance": CANARY, "job": CANARY}
    points = [gauge(9, **planted), counter(9, **planted, reason="refused")]
    for metric in points:
        data_points = metric.gauge.data_points or metric.sum.data_points
        data_points[0].attributes.add(key="reason", value=value(CANARY))  # a second value of the same key
        data_points[0].exemplars.add(as_int=1, time_unix_nano=1, filtered_attributes=attributes({"patient": CANARY}))
        metric.metadata.extend(attributes({"prometheus.type": "unknown", CANARY: CANARY}))
    request = metrics(points, {**process(20), "service.namespace": CANARY, "service.version": CANARY, CANARY: CANARY})
    scope = request.resource_metrics[0].scope_metrics[0]
    scope.scope.name = scope.scope.version = scope.schema_url = request.resource_metrics[0].schema_url = CANARY
    scope.scope.attributes.extend(attributes({CANARY: CANARY}))
    assert send_http(bench.collector.http, request).status_code == 200
    wanted = shown("mem0_write_queue_size", instance(20), 9)
    wanted |= shown("telemetry_spans_lost_total", instance(20), 9, reason="refused")
    assert wanted.items() <= bench.samples().items()
    assert types_and_help(bench) == {(metric.type, metric.help) for metric in SHIPPED.instruments.values()}
    shown_anywhere = [bench.collector.exposition(), bench.collector.exposition(OPEN_METRICS), bench.collector.log()]
    assert "CANARY" not in " ".join(shown_anywhere)


@pytest.mark.parametrize("wrong", [CANARY, "web-1", 5, b"0", ["a"], {"a": "b"}, None])
def test_an_instance_that_is_no_random_id_is_other(bench: Bench, wrong: Any) -> None:
    send(bench.collector.grpc, metrics([gauge(3)], {**SERVICE, "service.instance.id": wrong}))
    assert shown("mem0_write_queue_size", "other", 3).items() <= bench.samples().items()


OTHER_METRICS = [
    gauge(666, "patients"),
    gauge(666, "mem0_write_queue_size"),
    gauge(666, COUNTER),
    counter(666, GAUGE),
    counter(666, "webhook.requests"),
    counter(666, "webhook_requests_total"),
    counter(666, "lane_classification_total"),
    counter(666, "span.calls"),
    counter(666, COUNTER, temporality=DELTA, reason="refused"),
    counter(666, COUNTER, monotonic=False, reason="refused"),
    Metric(name=GAUGE),
    Metric(name="http.server.request.duration"),
]
OTHER_METRICS[-1].histogram.data_points.add(count=666, sum=666, time_unix_nano=1)


def test_no_other_metric_passes(bench: Bench) -> None:
    before = bench.samples()
    send(bench.collector.grpc, metrics(OTHER_METRICS, process(1)))
    assert bench.samples() == before
    assert 666 not in bench.samples().values()


@pytest.mark.parametrize("service", [{}, {"service.name": "somebody-else"}, {"service.name": ["healthcare-backend"]}])
def test_metrics_of_an_unknown_service_are_dropped(bench: Bench, service: dict[str, Any]) -> None:
    before = bench.samples()
    unknown = {**process(1), "service.name": None, **service}
    send(bench.collector.grpc, metrics([gauge(666), counter(666, reason="refused")], unknown))
    assert bench.samples() == before
