"""How mutants are made and judged, nothing started; `make mutants` runs every one."""

import io

import pytest
import yaml
from rich.console import Console

from tests.support.mutants import idle_reasons
from tools.mutants import collector
from tools.mutants.of_files import FileMutant, of_python, of_yaml
from tools.mutants.verdicts import Verdict, report

YAML = """\
processors:
  batch: {timeout: 2s, size: 3, open: true}
  filter: [a == "b" and not c]
"""
PYTHON = "def rule(value):\n    return value if isinstance(value, str) and value in allowed else clean(value)\n"


@pytest.fixture(scope="module")
def shipped_mutants() -> list[FileMutant]:
    """All of the shipped files, made once: that takes seconds."""
    return collector.mutants()


def test_every_place_of_a_yaml_file_is_broken_in_every_way() -> None:
    assert {mutant.name for mutant in of_yaml("some.yaml", YAML)} == {
        "processors is gone",
        "processors.batch is gone",
        "processors.batch.timeout is gone",
        "processors.batch.timeout is 4s",
        "processors.batch.size is gone",
        "processors.batch.size is 6",
        "processors.batch.size is 4",
        "processors.batch.open is gone",
        "processors.batch.open is False",
        "processors.filter is gone",
        'processors.filter.a == "b" and not c is gone',
        'processors.filter.a == "b" and not c is a != "b" and not c',
        'processors.filter.a == "b" and not c is a == "b" or not c',
        'processors.filter.a == "b" and not c is a == "b" and c',
        'processors.filter.a == "b" and not c is a == "bx" and not c',
    }


def test_a_mutant_of_yaml_differs_in_one_place() -> None:
    [mutant] = [one for one in of_yaml("some.yaml", YAML) if one.name == "processors.batch.size is 6"]
    wanted = yaml.safe_load(YAML)
    wanted["processors"]["batch"]["size"] = 6
    assert yaml.safe_load(mutant.text) == wanted


def test_every_condition_and_call_of_a_python_module_is_broken() -> None:
    assert [mutant.name.partition(" → ")[2] for mutant in of_python("some.py", PYTHON)] == [
        "clean(value)",
        "value",
        "value in allowed",
        "isinstance(value, str)",
        "value",
        "value not in allowed",
    ]


def test_what_make_check_refuses_is_caught_without_being_run(shipped_mutants: list[FileMutant]) -> None:
    [broken] = [one for one in shipped_mutants if one.name == "receivers is gone"]
    assert collector.look(broken) == Verdict(broken, "check: schema")


def test_every_reason_is_needed(shipped_mutants: list[FileMutant]) -> None:
    assert idle_reasons(collector.KNOWN, shipped_mutants) == []


def test_a_survivor_without_a_reason_is_named_and_fails_the_run() -> None:
    caught, excused, survivor = (FileMutant("some.yaml", name, "") for name in ("a is gone", "b is gone", "c is gone"))
    printed = io.StringIO()
    verdicts = [Verdict(caught, "a test"), Verdict(excused, reason="it is only a name")]
    console = Console(file=printed, width=200)
    assert report(verdicts, {"some.yaml": "Part"}, 1, console, by_whom=True)
    assert not report([*verdicts, Verdict(survivor)], {"some.yaml": "Part"}, 1, console, by_whom=True)
    assert "nobody catches some.yaml: c is gone" in printed.getvalue()
    assert printed.getvalue().splitlines()[-1] == "3 mutants in 1 s, 1 survive without a reason"
