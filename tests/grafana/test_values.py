"""Every query of every panel, annotation and variable gives the value and the labels that were computed by hand."""

import pytest

from tools.base.prometheus import Prometheus
from tools.check.dashboard_samples import FULL, JOB
from tools.check.dashboard_values import PANELS, wrong_annotations, wrong_panels, wrong_variables
from tools.model.dashboard import Dashboard, asked, shipped_dashboards

DASHBOARDS = shipped_dashboards()
each_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.uid)


def test_every_panel_with_a_query_has_its_expected_values() -> None:
    queried = {one.uid: {panel["id"] for panel, _ in one.targets} for one in DASHBOARDS}
    assert queried == {uid: set(panels) for uid, panels in PANELS.items()}


@each_dashboard
def test_every_panel_shows_the_computed_values_units_and_labels_and_zero_or_nothing_where_nothing_happened(
    dashboard: Dashboard, prometheus: Prometheus
) -> None:
    assert list(wrong_panels(dashboard, prometheus)) == []


@each_dashboard
def test_annotations_mark_what_they_say_and_nothing_else(dashboard: Dashboard, prometheus: Prometheus) -> None:
    assert list(wrong_annotations(dashboard, prometheus)) == []


@each_dashboard
def test_variables_offer_the_jobs_and_lanes_that_there_are(dashboard: Dashboard, prometheus: Prometheus) -> None:
    assert list(wrong_variables(dashboard, prometheus)) == []


def test_the_first_tile_counts_up_and_the_others_know_nothing_when_telemetry_stops(prometheus: Prometheus) -> None:
    [backend] = [one for one in shipped_dashboards() if one.uid == "healthcare-backend"]
    expressions = {panel["id"]: target["expr"] for panel, target in backend.targets if panel["id"] in range(9, 16)}
    later = FULL + 600
    shown = {
        number: [one.value for one in prometheus.query(asked(expr, JOB), later)] for number, expr in expressions.items()
    }
    assert shown == {9: [600], **{number: [] for number in range(10, 16)}}


def test_the_labels_of_the_left_axis_of_errors_have_room() -> None:
    [backend] = [one for one in shipped_dashboards() if one.uid == "healthcare-backend"]
    [errors] = [panel for panel in backend.panels if panel["id"] == 3]
    assert errors["fieldConfig"]["defaults"]["custom"]["axisWidth"] >= 100  # pixels, for "0.012 errors/s"
