"""Each version stands in one place; where a file cannot read it there, this holds the copies equal.

Image tags: tests/compose. Modules of the Go programs: test_programs.py.
"""

import re
import tomllib
from itertools import chain

import pytest
import yaml

import app
from tools.stack import programs
from tools.stack.programs import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
OLDEST = PYPROJECT["project"]["requires-python"].removeprefix(">=")
MATRIX = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))["jobs"]["test"]["strategy"]["matrix"]


def text(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def test_the_package_takes_its_version_from_the_service() -> None:
    assert "version" not in PYPROJECT["project"]
    assert PYPROJECT["tool"]["hatch"]["version"] == {"path": "service/app/__init__.py"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", app.__version__)


def test_the_changelogs_newest_release_is_this_version() -> None:
    released = re.findall(r"^## \[(\d\S*)\] - \d{4}-\d\d-\d\d$", text("CHANGELOG.md"), re.MULTILINE)
    assert released[0] == app.__version__
    assert len(released) == len(re.findall(r"^## ", text("CHANGELOG.md"), re.MULTILINE)) - 1  # and what is unreleased


def test_every_place_means_the_same_oldest_python() -> None:
    assert re.search(rf"^needs Python {re.escape(OLDEST)} or newer", text("README.md"), re.MULTILINE)
    assert "target-version" not in PYPROJECT["tool"]["ruff"]  # ruff and mypy follow requires-python and the interpreter
    assert OLDEST not in text("Makefile")  # it reads pyproject.toml
    assert MATRIX["python"][0] == OLDEST


def test_ci_runs_the_python_of_the_images_and_all_from_the_oldest_on() -> None:
    image = re.search(r"^FROM python:(3\.\d+)-", text("service/Dockerfile"), re.MULTILINE)
    assert image
    assert MATRIX["python"][-1] == image[1]
    assert MATRIX["python"] == [f"3.{minor}" for minor in range(int(OLDEST[2:]), int(image[1][2:]) + 1)]


def test_every_part_of_the_collector_is_of_its_version() -> None:
    builder = yaml.safe_load(text("otel-collector/builder.yaml"))
    version = builder["dist"]["version"]
    modules = [part["gomod"].split() for part in chain(*(builder[kind] for kind in builder if kind != "dist"))]
    stable = {number for name, number in modules if "/confmap/" in name}  # they count differently, all alike
    assert {number for name, number in modules if "/confmap/" not in name} == {f"v{version}"}
    assert len(stable) == 1


def test_the_backtest_is_of_the_versions_that_run() -> None:
    module = text("tools/go/backtest/go.mod")
    assert f"\tgithub.com/prometheus/prometheus {programs.PROMETHEUS_MODULE}\n" in module
    alertmanager = "github.com/prometheus/alertmanager"
    assert f"\nreplace {alertmanager} => {alertmanager} v{programs.ALERTMANAGER}\n" in module


@pytest.mark.parametrize(
    ("page", "name", "version"),
    [("README.md", "tempo", programs.TEMPO), ("docs/dashboards.md", "grafana", programs.GRAFANA)],
)
def test_documents_name_the_version_that_is_looked_for_on_path(page: str, name: str, version: str) -> None:
    assert re.findall(rf"`{name}` (\d+\.\d+\.\d+) is on the PATH", text(page)) == [version]
