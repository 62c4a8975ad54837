"""Two Prometheus and three Alertmanagers, and one notification of an alert, whichever Prometheus dies."""

import time

from tests.collector.test_instruments import counter, instance, process
from tests.prometheus.monitored import increments
from tests.scale.pair import Notification, Pair
from tests.support.fleet import Fleet
from tools.base.otlp import metrics
from tools.base.wait import until

LOST = "telemetry_spans_lost_total"
DOWN = "OtelCollectorDown"


def test_what_is_pushed_reaches_both(pair: Pair) -> None:
    first, _ = pair.each
    began = time.time_ns() - 1_000_000_000
    me = frozenset({"job": "healthcare-backend", "instance": instance(5), "reason": "refused"}.items())
    for value, through in ((2, 0), (5, 2)):
        first.send(metrics([counter(value, since=began, reason="refused")], process(5)), through)
        for asked in pair.each:
            until(lambda a=asked, v=value: last(a) == {me: v}, "it is there", every=0.2)  # type: ignore[misc]
    for asked in pair.each:
        assert [increments(values) for values in asked.history(LOST).values()] == [5]


def last(asked: Fleet) -> dict[frozenset[tuple[str, str]], float]:
    """The newest value of each series."""
    return {labels - {("__name__", LOST)}: value for labels, value in asked.query(LOST).items()}


def told(pair: Pair) -> list[tuple[str, int]]:
    """The status of each notification of the alert, with its number of alerts."""
    return [(one["status"], len(one["alerts"])) for one in pair.notified(DOWN)]


def is_told(pair: Pair, wanted: list[tuple[str, int]]) -> None:
    """Wait until so much is told; it is this, and nothing more."""
    until(lambda: len(told(pair)) >= len(wanted), "it is notified", seconds=300, every=0.2)
    assert told(pair) == wanted


def test_an_alert_is_notified_once_by_six_paths_whichever_prometheus_dies(pair: Pair) -> None:
    assert told(pair) == []
    wanted: list[tuple[str, int]] = []
    for number in (0, 1):
        collector, member = pair.each[0].collectors[2 - number], pair.members[number]
        collector.stop()
        member.kill("prometheus")  # before the alert fires: the other alone must tell
        wanted.append(("firing", 1))
        is_told(pair, wanted)
        member.start("prometheus")  # it finds the alert again, pending and then firing
        until(lambda asked=pair.each[number]: fires(asked), "it fires there too", every=0.2)  # type: ignore[misc]
        pair.all_have_looked()
        is_told(pair, wanted)
        collector.start()
        wanted.append(("resolved", 1))
        is_told(pair, wanted)
    pair.all_have_looked()
    is_told(pair, wanted)
    assert [labels_of(one) for one in pair.notified(DOWN)] == [labels_of(pair.notified(DOWN)[0])] * 4


def labels_of(notification: Notification) -> dict[str, str]:
    """Those of its only alert: nothing tells which Prometheus it came from."""
    [alert] = notification["alerts"]
    labels: dict[str, str] = alert["labels"]
    assert "replica" not in labels
    return labels


def fires(asked: Fleet) -> bool:
    """Whether this Prometheus has the alert firing."""
    return bool(asked.query(f'ALERTS{{alertname="{DOWN}",alertstate="firing"}}'))
