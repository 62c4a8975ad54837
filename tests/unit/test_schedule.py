"""Tests that share a stack go to one worker, and the longest begin first."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.support.schedule import SECONDS, UNITS, longest_first, unit
from tools.base.files import ROOT

DRILL = "tests/drills/test_drills.py::test_every_alert[{}]"


def test_a_unit_is_a_file_if_nothing_else_is_said() -> None:
    assert unit("tests/unit/test_reply.py::test_a[tests::b]") == "tests/unit/test_reply.py"
    assert unit("tests/service/test_start.py::test_a") == unit("tests/service/test_world.py::test_b") == "tests/service"
    assert unit("tests/service/test_machine.py::test_a") == unit("tests/process/test_variables.py::test_b")
    assert unit("tests/service/test_machine.py::test_a") != "tests/service"
    assert unit(DRILL.format("cache-hung+worker-away")) == unit(DRILL.format("unknown-numbers+unknown-event"))
    assert unit(DRILL.format("collector-hung")) == "tests/drills/test_drills.py"


@pytest.mark.parametrize("name", sorted(SECONDS))
def test_every_unit_that_is_known_to_be_long_is_there(name: str) -> None:
    assert name in UNITS.values() or Path(ROOT / name).is_file()


def test_the_longest_begin_first_and_the_tests_of_a_unit_stay_in_their_order() -> None:
    names = [
        "tests/plan/test_plan.py::test_b",
        "tests/unit/test_reply.py::test_a",
        "tests/drills/test_drills.py::test_b",
        "tests/plan/test_plan.py::test_a",
        "tests/unit/test_kinds.py::test_a",
    ]
    tests = [cast(pytest.Item, SimpleNamespace(nodeid=name)) for name in names]
    longest_first(tests)
    assert [test.nodeid for test in tests] == [names[2], names[0], names[3], names[1], names[4]]
