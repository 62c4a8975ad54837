"""Which alerts hold back which: who is told of a cause is not told of what follows from it."""

from pathlib import Path

import pytest

from tests.alerts.conftest import ALERTS
from tests.support.notified import alert_of
from tools.base.wait import until
from tools.write.notifications import Alertmanager, example, running

BURNS = {"ErrorBudgetBurn1d", "ErrorBudgetBurn3d"}
HOLDS_BACK = {
    "CriticalWebhookLatency": {"HighWebhookLatency", "ErrorBudgetBurn1h", "ErrorBudgetBurn6h"},
    "CriticalCacheHitRate": {"LowCacheHitRate"},
    "CriticalErrorRate": {"HighErrorRate"},
    "OtelCollectorDown": {
        *("ServiceTelemetryAbsent", "LatencySliBucketMissing", "DerivedMetricsStalled"),
        *("OtelCollectorExporterStalled", "OutboxStalled", "LowThroughput"),
    },
    "ServiceTelemetryAbsent": {"DerivedMetricsStalled", "LatencySliBucketMissing", "LowThroughput"},
    "ErrorBudgetBurn1h": {"ErrorBudgetBurn6h", *BURNS},
    "ErrorBudgetBurn6h": BURNS,
    "ErrorBudgetBurn1d": {"ErrorBudgetBurn3d"},
}
"""Exactly these pairs. The examples burn the objective webhook-latency."""


@pytest.mark.parametrize("name", HOLDS_BACK)
def test_an_alert_holds_back_what_it_explains_and_nothing_else(tmp_path: Path, name: str) -> None:
    explained = set(HOLDS_BACK[name])
    expected = explained.union(*(HOLDS_BACK.get(one, ()) for one in explained))
    others = [one for one in ALERTS if one in expected or one not in HOLDS_BACK]
    with running(tmp_path) as alertmanager:
        alertmanager.post(*map(example, [name, *others]))
        until(lambda: held_back(alertmanager) == expected, f"exactly {sorted(expected)} are held back")
        assert alertmanager.states().keys() == {name, *others}


def test_when_everything_fires_exactly_the_explained_ones_are_held_back(tmp_path: Path) -> None:
    with running(tmp_path) as alertmanager:
        alertmanager.post(*map(example, ALERTS))
        until(lambda: held_back(alertmanager) == set().union(*HOLDS_BACK.values()), "exactly these are held back")
        assert alertmanager.states().keys() == ALERTS.keys()


def held_back(alertmanager: Alertmanager) -> set[str]:
    return {name for name, state in alertmanager.states().items() if state["inhibited by"]}


def test_each_objective_is_held_back_by_the_alert_that_explains_it(tmp_path: Path) -> None:
    success = example("ErrorBudgetBurn1h")
    success["labels"] |= {"slo": "webhook-success", "signal": "slo-webhook-success"}
    with running(tmp_path) as alertmanager:
        alertmanager.post(example("CriticalWebhookLatency"), success)
        until(lambda: len(alertmanager.states()) == 2, "both are there")
        assert held_back(alertmanager) == set()
        alertmanager.post(example("CriticalErrorRate"))
        until(lambda: held_back(alertmanager) == {"ErrorBudgetBurn1h"}, "it is held back")


def test_another_job_and_an_alert_without_a_signal_are_not_held_back(tmp_path: Path) -> None:
    elsewhere, new = example("HighWebhookLatency"), example("HighWebhookLatency")
    elsewhere["labels"] |= {"job": "another-backend"}
    new["labels"] |= {"alertname": "New", "signal": ""}
    critical = example("CriticalWebhookLatency")
    unsigned = example("CriticalErrorRate")
    unsigned["labels"] |= {"alertname": "NewCritical", "signal": ""}
    with running(tmp_path) as alertmanager:
        alertmanager.post(
            critical, unsigned, elsewhere, new, example("LowCacheHitRate"), example("CriticalCacheHitRate")
        )
        until(lambda: held_back(alertmanager) == {"LowCacheHitRate"}, "only the pair is joined")
        assert len(alertmanager.states()) == 6


def test_nobody_is_told_of_what_is_held_back(tmp_path: Path) -> None:
    with running(tmp_path) as alertmanager:
        alertmanager.post(example("CriticalWebhookLatency"))
        until(lambda: alertmanager.receiver.sent("/notifications"), "somebody is told")
        alertmanager.post(example("HighWebhookLatency"), example("SlowDatabaseQueries"))
        until(lambda: len(alertmanager.receiver.sent("/notifications")) == 2, "the one that is not explained is told")
        told = {alert_of(one) for one in alertmanager.receiver.requests}
        assert told == {"CriticalWebhookLatency", "SlowDatabaseQueries"}
