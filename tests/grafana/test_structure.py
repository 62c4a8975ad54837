"""The dashboards keep every rule that can be read from their files."""

import pytest

from tests.grafana.dashboards import Dashboard, shipped
from tests.grafana.structure import STRUCTURE, Rule


@pytest.mark.parametrize("dashboard", shipped(), ids=lambda one: one.uid)
@pytest.mark.parametrize("rule", STRUCTURE, ids=lambda rule: rule.__name__)
def test_each_dashboard_keeps_each_rule(rule: Rule, dashboard: Dashboard) -> None:
    assert list(rule(dashboard)) == []


def test_both_dashboards_are_there() -> None:
    assert {one.name: one.uid for one in shipped()} == {
        "grafana-dashboard.json": "healthcare-backend",
        "otel-collector.json": "otel-collector",
    }
