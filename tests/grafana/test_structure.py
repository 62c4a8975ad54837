"""The dashboards keep every rule that can be read from their files."""

import pytest

from tools.check.dashboards import PROMISES, Promise
from tools.model.dashboard import Dashboard, shipped_dashboards


@pytest.mark.parametrize("dashboard", shipped_dashboards(), ids=lambda one: one.uid)
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_each_dashboard_keeps_each_promise(promise: Promise, dashboard: Dashboard) -> None:
    assert list(promise(dashboard)) == []


def test_both_dashboards_are_there() -> None:
    assert {one.name: one.uid for one in shipped_dashboards()} == {
        "grafana-dashboard.json": "healthcare-backend",
        "otel-collector.json": "otel-collector",
    }
