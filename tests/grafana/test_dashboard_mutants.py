"""Every panel is broken, and each reason is needed; `make mutants ARGS=dashboards` tries all breaks."""

from tests.support.mutants import idle_reasons
from tools.model.dashboard import shipped_dashboards
from tools.mutants.dashboards import REASONS, mutants

ALL = list(mutants(shipped_dashboards()))


def test_every_panel_query_and_line_is_broken_in_several_ways() -> None:
    names = [(mutant.path, mutant.panel, mutant.name) for mutant in ALL]
    broken = {(mutant.path, mutant.panel) for mutant in ALL}
    for dashboard in shipped_dashboards():
        path = f"grafana/dashboards/{dashboard.name}"
        assert {(path, panel["id"]) for panel in dashboard.panels} <= broken
        for panel, target in dashboard.targets:
            place = f": targets.{target['refId']}.expr "
            assert sum(one[:2] == (path, panel["id"]) and place in one[2] for one in names) > 1


def test_every_reason_is_needed() -> None:
    assert idle_reasons(REASONS, ALL) == []
