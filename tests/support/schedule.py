"""Which tests a worker of pytest-xdist runs one after the other, and which begin first: those that take longest.

A unit is what shares a stack: a file, or what UNITS says. One worker runs a unit from end to end, so that the stack of
a fixture of scope `package` or `module` is started once, and ends with its unit.
"""

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

UNITS = {
    "[unknown-numbers+": "drills of the path of a message",
    "[cache-hung+": "drills of the path of a message",
    "tests/service/test_machine.py": "environment variables",  # has a backend of its own
    "tests/process/test_variables.py": "environment variables",  # both read the sources of all packages
    "tests/service/": "tests/service",
}
"""The unit of a test whose id has this part, if not its file."""

SECONDS = {
    "tests/service": 380,
    "tests/drills/test_drills.py": 220,
    "drills of the path of a message": 210,
    "tests/leaks/test_service_leaks.py": 200,
    "tests/e2e/test_main_job.py": 180,
    "environment variables": 200,
    "tests/e2e/test_processes.py": 170,
    "tests/backtest/test_editing_alerts.py": 150,
    "tests/collector/test_attack.py": 130,
    "tests/plan/test_plan.py": 120,
    "tests/scale/test_six_paths.py": 190,
    "tests/scale/test_thanos.py": 340,
    "tests/kubernetes/test_api_server.py": 90,
    "tests/plan/test_examples.py": 100,
    "tests/alerts/test_runbook_commands.py": 100,
    "tests/process/test_process.py": 75,
    "tests/stack/test_first_run.py": 75,
    "tests/prometheus/test_restarts.py": 65,
    "tests/collector/test_fleet.py": 60,
    "tests/stack/test_embedded.py": 50,
    "tests/collector/test_fleet_instruments.py": 45,
    "tests/prometheus/test_scraping.py": 40,
    "tests/alerts/test_notifications.py": 40,
    "tests/backtest/test_day.py": 40,
    "tests/grafana/test_live.py": 35,
    "tests/collector/test_trace_store.py": 35,
    "tests/leaks/test_phoning_home.py": 35,
    "tests/alerts/test_inhibition.py": 30,
    "tests/collector/test_damaged_queue.py": 30,
}
"""How long the long ones take where several run; the others take less. Only their order depends on it."""


def unit(test: str) -> str:
    """What a test belongs to, by its id."""
    return next((name for part, name in UNITS.items() if part in test), test.partition("::")[0])


def longest_first(tests: list[pytest.Item]) -> None:
    """Put them into the order in which they begin; tests of a unit stay together, and in their order."""
    tests.sort(key=lambda test: -SECONDS.get(unit(test.nodeid), 0))


class Schedule(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Hands out units in the order of their tests."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)
