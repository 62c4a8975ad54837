"""The tests of the dashboards notice a broken one; `python -m tools.dashboard_mutants` tries all ways of breaking."""

import re

import yaml

from tests.grafana.dashboards import shipped
from tests.grafana.database import Prometheus
from tools.dashboard_mutants import REASONS, Trial, mutants
from tools.judging import some

SAMPLE = 60
ALL = list(mutants(shipped()))


def test_every_panel_query_and_line_is_broken_in_several_ways() -> None:
    names = [(mutant.path, mutant.panel, mutant.name) for mutant in ALL]
    broken = {(mutant.path, mutant.panel) for mutant in ALL}
    for dashboard in shipped():
        path = f"grafana/dashboards/{dashboard.name}"
        assert {(path, panel["id"]) for panel in dashboard.panels} <= broken
        for panel, target in dashboard.targets:
            place = f": targets.{target['refId']}.expr "
            assert sum(one[:2] == (path, panel["id"]) and place in one[2] for one in names) > 1


def test_a_sample_of_mutants_is_caught(prometheus: Prometheus) -> None:
    trial = Trial(prometheus)
    verdicts = [trial.run(mutant) for mutant in some(ALL, SAMPLE)]
    assert [verdict.mutant.name for verdict in verdicts if not verdict.caught_by and not verdict.reason] == []


def test_every_reason_is_needed() -> None:
    names = [mutant.name for mutant in ALL]
    patterns = [one["mutants"] for one in yaml.safe_load(REASONS.read_text())]
    assert [one for one in patterns if not any(re.search(one, name) for name in names)] == []
