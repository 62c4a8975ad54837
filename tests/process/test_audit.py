"""All that is pinned is looked into: by `make audit`, and by Dependabot."""

import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from tools.base.errors import ToolError
from tools.cli import run
from tools.commands import audit
from tools.stack.programs import ROOT, STANDARD

LOCKS = {*ROOT.glob("requirements/*.txt"), *ROOT.glob("tools/go/*.txt")}
MODULES = set(ROOT.glob("tools/go/*/go.mod"))


@pytest.fixture(autouse=True)
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs are said to be there."""
    monkeypatch.setattr(audit, "ensure", lambda name, _: tmp_path / name)


def test_every_lock_and_every_program_is_looked_into(tmp_path: Path) -> None:
    packages, *programs = audit.commands().values()
    assert {ROOT / lock for option, lock in pairwise(packages) if option == "--requirement"} == LOCKS
    assert [command[-1] for command in programs] == [str(tmp_path / name) for name in STANDARD]


def test_all_are_run_and_one_that_finds_something_fails_the_audit(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def command(text: str, code: int) -> list[str]:
        return [sys.executable, "-c", f"print({text!r}); raise SystemExit({code})"]

    runs = {"one": command("clean", 0), "two": command("found", 3), "three": command("clean too", 0)}
    monkeypatch.setattr(audit, "commands", lambda: runs)
    assert run(["audit"]) == 1
    lines = capfd.readouterr().out.split("\n")
    assert [line for line in lines if line] == [
        *("== one", "clean", "== two", "found", "== three", "clean too"),
        "found something, or could not ask: two",
    ]
    monkeypatch.setattr(audit, "commands", lambda: {"one": command("clean", 0)})
    assert run(["audit"]) == 0


def test_a_program_that_cannot_be_built_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ensure(name: str, _: object) -> Path:
        raise ToolError(f"{name} cannot be had")

    monkeypatch.setattr(audit, "ensure", ensure)
    assert run(["audit"]) == 1
    assert capsys.readouterr().err == "clinic: govulncheck cannot be had\n"


def test_dependabot_looks_into_every_folder_with_something_pinned() -> None:
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text("utf-8"))["updates"]
    folders = {each["package-ecosystem"]: set(each.get("directories", [each.get("directory")])) for each in updates}

    def places(files: set[Path]) -> set[str]:
        return {f"/{file.parent.relative_to(ROOT)}".removesuffix(".") for file in files}

    assert folders == {
        "pip": places({*LOCKS, ROOT / "pyproject.toml"}),
        "gomod": places(MODULES),
        "docker-compose": places({ROOT / "docker-compose.yaml"}),
        "docker": places({ROOT / "service" / "Dockerfile"}),
        "github-actions": {"/"},
    }
