"""`pip install .` gives the service and the tools: the wheel, unpacked outside of the checkout, works alone."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import app
from tools.stack.programs import ROOT


def run(folder: Path, *command: str, code: int = 0, **environment: str) -> str:
    """What a program prints that is called in this folder, with these variables only."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(command, cwd=folder, env=kept | environment, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    return said.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built with the locked backend, without network."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--no-cache-dir", "--quiet")
    run(folder, sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(folder), str(ROOT))
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    options = ("--no-deps", "--no-index", "--no-compile", "--quiet", "--disable-pip-version-check")
    run(folder, sys.executable, "-m", "pip", "install", *options, "--target", str(folder), str(wheel))
    return folder


def in_package(installed: Path, folder: Path, *arguments: str, code: int = 0) -> str:
    """What Python prints that finds the package, and nothing of the folder it is called in."""
    return run(folder, sys.executable, "-P", *arguments, code=code, PYTHONPATH=str(installed))


def shipped(folder: str) -> set[str]:
    """Files of a folder that git has or would take."""
    command = ("git", "ls-files", "--cached", "--others", "--exclude-standard", folder)
    listed = subprocess.check_output(command, cwd=ROOT, text=True)
    return {line for line in listed.splitlines() if (ROOT / line).exists()}


def test_the_wheel_holds_each_file_of_service_simulator_and_tools_and_the_contract(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {name.removeprefix("service/") for name in shipped("service/app")}
    expected |= shipped("simulator") | shipped("tools") | {"app/observability/metrics.yaml"}
    assert held == expected


def test_the_wheel_tells_version_licence_and_what_it_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as files:
        folder = f"healthcare_observability-{app.__version__}.dist-info"
        metadata = files.read(f"{folder}/METADATA").decode().splitlines()
        assert files.read(f"{folder}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
        assert files.read(f"{folder}/entry_points.txt").decode().splitlines()[1:] == ["clinic = tools.cli:main"]
    assert {f"Version: {app.__version__}", "License-Expression: Apache-2.0"} <= set(metadata)
    assert {"Provides-Extra: memory", "Provides-Extra: tools"} <= set(metadata)
    assert "Requires-Dist: fastapi" in metadata


def test_the_installed_service_finds_its_contract_and_its_other_files(installed: Path, tmp_path: Path) -> None:
    program = """
import app.conversation.kinds, app.main, app.observability.contract as contract, app.outbox.worker
from pathlib import Path
import app.storage
print(contract.PATH)
print(sorted(contract.contract().service_names))
print(sorted(path.name for path in Path(app.storage.__file__).parent.glob("*.sql")))
"""
    where, names, statements = in_package(installed, tmp_path, "-c", program).splitlines()
    assert Path(where) == installed / "app" / "observability" / "metrics.yaml"
    assert Path(where).read_bytes() == (ROOT / "otel-collector" / "metrics.yaml").read_bytes()
    assert "healthcare-backend" in names
    assert statements == "['demo.sql', 'schema.sql']"


def test_installed_tools_read_the_product_in_whose_folder_they_are_called(installed: Path) -> None:
    program = """
from tools.base.files import ROOT
from tools.stack.programs import BUILDER, __file__
print(__file__, ROOT, BUILDER.exists())
"""
    assert in_package(installed, ROOT, "-c", program) == f"{installed / 'tools' / 'stack' / 'programs.py'} {ROOT} True"
    assert "all agree" in in_package(installed, ROOT, "-m", "tools.cli", "check")


def test_installed_tools_that_are_called_elsewhere_say_what_they_miss(installed: Path, tmp_path: Path) -> None:
    said = in_package(installed, tmp_path, "-m", "tools.cli", "check", code=1)
    assert said == "the tools read and start what is in a checkout of this project: call them in one"


def test_the_checkout_has_one_contract() -> None:
    assert list((ROOT / "service").rglob("metrics.yaml")) == []
