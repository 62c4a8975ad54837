"""The contract is refused with the place and the reason when it says something that cannot be."""

import pytest

from tests.plan.conftest import contract
from tools.base.files import SourceError, Sources
from tools.model.contract import PATH, load

TARGET = "target: {quantile: 0.95, below: 0.5}"
QUEUE = "  - name: mem0_write_queue_size\n    type: gauge"

WRONG = {  # what is edited, and what is said of it
    "a type that does not exist": (
        (
            "    type: histogram\n    unit: s\n    help: Duration of webhook",
            "    type: histogramm\n    unit: s\n    help: Duration of webhook",
        ),
        "webhook_request_duration_seconds.type: Input should be 'counter', 'gauge' or 'histogram', here: 'histogramm'",
    ),
    "a misspelt key": (
        (QUEUE, QUEUE + "\n    alerts: [5]"),
        "mem0_write_queue_size.alerts: is no key of this place (misspelt?)",
    ),
    "a key that stands twice": (
        (QUEUE, QUEUE + "\n    type: counter"),
        "`type` stands here a second time, the first is in line {above}",
    ),
    "a metric that is documented twice": (
        ("  - name: cache_hits_total", "  - name: duplicate_messages_total"),
        "duplicate_messages_total is documented twice",
    ),
    "a counter that does not end in _total": (
        ("  - name: duplicate_messages_total", "  - name: duplicate_messages"),
        "duplicate_messages: counters, and only they, end in _total",
    ),
    "a target that is no edge": (
        (TARGET, "target: {quantile: 0.95, below: 0.45}"),
        "webhook_request_duration_seconds: 0.45 s has to be one of `buckets`, with a higher one above, else an alert "
        "on it is wrong or never fires",
    ),
    "a quantile of what is no histogram": (
        (QUEUE, QUEUE + "\n    target: {quantile: 0.95, below: 5}"),
        "mem0_write_queue_size: the target of a histogram, and only of one, is a quantile",
    ),
    "a target on both sides": (
        ("target: {of: rate, below: 0.01}", "target: {of: rate, below: 0.01, above: 0.1}"),
        "errors_total.target: needs exactly one of quantile, of, and exactly one of below, above",
    ),
    "a threshold that is the highest edge": (
        ("    alert_thresholds: [2, 5]", "    alert_thresholds: [2, 30]"),
        "webhook_request_duration_seconds: 30 s has to be one of `buckets`, with a higher one above, else an alert on "
        "it is wrong or never fires",
    ),
    "buckets that do not ascend": (("0.3, 0.5, 1, 2", "0.3, 1, 0.5, 2"), "buckets: 0.5 stands after 1: edges ascend"),
    "a value that belongs to every set": (
        ("query_type: [patient,", "query_type: [other, patient,"),
        "hydration_queries_total.labels: `other` belongs to every set and is not listed (query_type)",
    ),
    "two sources": (
        ("source: {family: context.hydrate}", "source: {family: context.hydrate, attribute: component}"),
        "context_hydration_duration_seconds.source: needs exactly one of family, attribute, instrument",
    ),
    "one label with two sets for the same spans": (
        ("      operation: *operation\n", "      operation: [select, insert, update]\n"),
        "database_queries_total: operation differs from database_query_duration_seconds's, made of the same spans: "
        "begin, commit, cursor, delete, release, rollback, savepoint, set, with",
    ),
    "a pattern that is none": (
        ("exception.type: {pattern: '^[A-Za-z_][A-Za-z_.]*$'}", "exception.type: {pattern: '^[A-Za-z_'}"),
        "attributes.event.exception.type.pattern: is no regular expression: unterminated character set at position 1, "
        "here: '^[A-Za-z_'",
    ),
    "no YAML": (("metrics:\n", "metrics: [\n"), "no YAML: "),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_contract_with_a_mistake_is_refused_with_its_line(shipped: Sources, what: str) -> None:
    (before, after), text = WRONG[what]
    edited = contract(shipped, (before, after))
    with pytest.raises(SourceError) as refused:
        load(edited)
    [finding] = refused.value.findings
    assert finding.file == PATH
    assert finding.text.startswith(text.format(above=finding.line - 1))
    changed = [
        number
        for number, (old, new) in enumerate(
            zip(shipped.text(PATH).splitlines(), edited.text(PATH).splitlines(), strict=False), 1
        )
        if old != new
    ]
    assert finding.line in range(changed[0] - 4, changed[0] + 3)


def test_every_mistake_is_named_not_only_the_first(shipped: Sources) -> None:
    edited = contract(
        shipped, (TARGET, "target: {quantile: 95, below: 0.5}"), ('    unit: "{span}"\n', "    unit: spans\n")
    )
    with pytest.raises(SourceError) as refused:
        load(edited)
    assert [finding.text.partition(":")[0] for finding in refused.value.findings] == [
        "webhook_request_duration_seconds.target.quantile",
        "telemetry_spans_lost_total.unit",
    ]


def test_the_targets_and_thresholds_are_the_clinics(shipped: Sources) -> None:
    limits = {metric.name: metric.limits for metric in load(shipped).metrics if metric.limits}
    assert limits == {
        "webhook_request_duration_seconds": [0.5, 2, 5],
        "idempotency_check_duration_seconds": [0.001, 0.01],
        "duplicate_messages_total": [0.5],
        "cache_hits_total": [0.95],
        "context_hydration_duration_seconds": [0.1, 0.2],
        "lane_classification_total": [0.7],
        "database_query_duration_seconds": [1],
        "errors_total": [0.01, 0.1, 1],
        "mem0_write_queue_size": [100],
    }


def test_a_list_within_a_list_stands_for_its_values_so_that_lanes_are_written_once(shipped: Sources) -> None:
    by_name = load(shipped).by_name
    lanes = by_name["lane_classification_total"].labels["lane"]
    assert by_name["webhook_requests_total"].labels["lane"] == [*lanes, "none"]
    assert shipped.text(PATH).count("[faq, price, scheduling, complex]") == 1


def test_a_target_is_told_in_words_and_unit_of_its_metric(shipped: Sources) -> None:
    assert {metric.name: str(metric.target) for metric in load(shipped).metrics if metric.target} == {
        "webhook_request_duration_seconds": "P95 below 500 ms",
        "idempotency_check_duration_seconds": "P95 below 1 ms",
        "cache_hits_total": "above 95%",
        "context_hydration_duration_seconds": "P95 below 100 ms",
        "lane_classification_total": "above 70%",
        "errors_total": "below 0.01 a second",
    }
