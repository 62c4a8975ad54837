"""The checks catch small mistakes. `make mutants` runs every mutant; here all are looked at and some are run."""

import pytest
import yaml

from tools.cli import run
from tools.mutants.of_files import of_python, of_yaml

YAML = """\
processors:
  batch: {timeout: 2s, size: 3, open: true}
  filter: [a == "b" and not c]
"""
PYTHON = "def rule(value):\n    return value if isinstance(value, str) and value in allowed else clean(value)\n"


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


@pytest.mark.timeout(600)
def test_no_mutant_of_a_sample_survives_without_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["mutants", "collector", "--sample", "20"])
    print(shown := capsys.readouterr().out)
    assert code == 0
    assert shown.splitlines()[-1].endswith(" 0 survive without a reason")
