"""The two OpenTelemetry metrics with several Collectors: each series has one writer, and nothing is counted twice."""

import time
from collections.abc import Iterator

import pytest

from tests.collector.test_instruments import counter, gauge, instance, process
from tests.prometheus.monitored import increments
from tests.support import fleet
from tests.support.fleet import Fleet
from tools.base.otlp import metrics
from tools.base.wait import until
from tools.model.contract import JOB

LOST = "telemetry_spans_lost_total"
SECOND = 1_000_000_000
"""In nanoseconds. A process tells of itself some seconds after its start; its 0 stands at its start."""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two Collectors, one Prometheus."""
    with fleet.running(tmp_path_factory.mktemp("two"), 2) as running:
        yield running


def test_a_process_that_changes_collectors_has_one_series_and_its_very_first_increment_counts(two: Fleet) -> None:
    me = {"job": JOB, "instance": instance(7), "reason": "refused"}
    began = time.time_ns() - SECOND
    for value, through in ((2, 0), (3, 1), (5, 0), (9, 1)):
        two.send(metrics([counter(value, since=began, reason="refused")], process(7)), through)
        until(lambda seen=value: last(two, LOST).get(frozenset(me.items())) == seen, "it is there", every=0.2)  # type: ignore[misc]
    for _ in range(2):  # both still show what they got last, to whoever looks
        assert {one.samples()[LOST, frozenset(me.items())] for one in two.collectors} == {5, 9}
    [values] = two.history(f'{LOST}{{instance="{instance(7)}"}}').values()
    assert values == [0, 2, 3, 5, 9]
    assert increments(values) == 9


def last(two: Fleet, name: str) -> dict[frozenset[tuple[str, str]], float]:
    """The newest value of each series of a metric, labels without the name."""
    return {labels - {("__name__", name)}: value for labels, value in two.query(name).items()}


def test_the_gauge_follows_its_process_at_once_whichever_collector_it_reaches(two: Fleet) -> None:
    me = frozenset({"job": JOB, "instance": instance(8)}.items())
    for value, through in ((120, 0), (3, 1)):
        two.send(metrics([gauge(value)], process(8)), through)
        until(lambda seen=value: last(two, "mem0_write_queue_size").get(me) == seen, "it is there", every=0.2)  # type: ignore[misc]
    assert two.query("max by (job) (mem0_write_queue_size)") == {frozenset({("job", JOB)}): 3}


def test_prometheus_has_nothing_of_them_but_what_the_contract_says(two: Fleet) -> None:
    two.send(metrics([counter(1, reason="nonsense"), gauge(1)], process(9)), 0)
    until(lambda: instance(9) in {dict(labels).get("instance") for _, labels in known(two)}, "it is there", every=0.2)
    names = {"mem0_write_queue_size": {"job", "instance"}, LOST: {"job", "instance", "reason"}}
    mine = {(name, frozenset(dict(labels))) for name, labels in known(two)}
    assert mine <= {(name, frozenset(labels)) for name, labels in names.items()}
    its = [dict(labels) for name, labels in known(two) if name == LOST]
    assert {labels["reason"] for labels in its if labels["instance"] == instance(9)} == {"other"}


def known(two: Fleet) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """All series that carry the service's name, but what rules make of them, which have no instance."""
    return set(two.history(f'{{job="{JOB}",instance!=""}}'))


def test_a_prometheus_that_is_away_costs_the_sender_nothing_and_no_count(two: Fleet) -> None:
    began = time.time_ns() - SECOND
    two.stack.stop("prometheus")
    for value in (1, 2):
        two.send(metrics([counter(value, since=began, reason="shutdown")], process(10)), 0)
    two.stack.start("prometheus")
    two.send(metrics([counter(3, since=began, reason="shutdown")], process(10)), 1)
    me = f'{LOST}{{instance="{instance(10)}"}}'
    until(lambda: [values[-1] for values in two.history(me).values()] == [3], "it is there", every=0.2)
    [values] = two.history(me).values()
    assert (values[0], increments(values)) == (0, 3)
