"""Runs `promtool test rules` on prometheus/tests, each file against only the rules that it is about.

`promtool` evaluates every rule of a file at every step, whatever a test asks for; with the others left out it takes a
tenth of the time. What the tests name, and what is recorded for it, stays as it is.
"""

import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tools.model.consumers import parse
from tools.model.rules import FOLDER, Rule, Rules, groups_of, rules_of
from tools.stack.programs import ensure

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@dataclass(frozen=True)
class RuleTests:
    """One file of tests."""

    name: str
    text: str

    @property
    def files(self) -> list[str]:
        """The rule files that it loads, within prometheus/."""
        return [path.removeprefix("../") for path in _parsed(self.text)["rule_files"]]

    def names(self, rule: Rule) -> bool:
        """Whether it is about this rule: speaks of it, and does not give its result."""
        result = rule.get("alert") or rule["record"]
        return result in _words(self.text) and result not in _given(self.text)

    def failure(self, rules: Rules, only: str = "") -> str:
        """What promtool says if they fail on these rules; empty if they pass. `only`: tests whose name matches."""
        with tempfile.TemporaryDirectory(prefix="rules-") as folder:
            for path in self.files:
                file = Path(folder) / path
                file.parent.mkdir(exist_ok=True)
                file.write_text(yaml.dump(self._needed(rules[path], rules), Dumper=_Dumper, sort_keys=False), "utf-8")
            tests = Path(folder) / "tests" / f"{self.name}.yaml"
            tests.parent.mkdir()
            tests.write_text(self.text, "utf-8")
            command = [ensure_promtool(), "test", "rules", *([f"--run={only}"] if only else []), str(tests)]
            run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        return (run.stdout + run.stderr).replace(folder, "prometheus") if run.returncode else ""

    def _needed(self, document: dict[str, Any], rules: Rules) -> dict[str, Any]:
        """The groups with nothing but the rules that are named, and what these need recorded."""
        wanted = {id(rule) for rule in self.needed(rules)}
        groups = [
            group | {"rules": [rule for rule in group["rules"] if id(rule) in wanted]} for group in groups_of(document)
        ]
        return {"groups": [group for group in groups if group["rules"]]}

    def needed(self, rules: Rules) -> list[Rule]:
        """The rules that it is about, and all that are recorded for them."""
        mine = [rule for path in self.files for rule in rules_of(rules[path])]
        found = [rule for rule in mine if self.names(rule)]
        for rule in found:  # it grows while we go
            selected = _selected(str(rule["expr"]))
            selected -= _given(self.text)
            found += [one for one in mine if one.get("record") in selected and all(one is not other for other in found)]
        return found


def shipped_tests() -> list[RuleTests]:
    """All files of tests."""
    return [RuleTests(path.stem, path.read_text("utf-8")) for path in sorted((FOLDER / "tests").glob("*.yaml"))]


def failures(chosen: list[RuleTests], rules: Rules, jobs: int) -> dict[str, str]:
    """What fails, by the name of the file of tests."""
    with ThreadPoolExecutor(jobs) as pool:
        said = pool.map(lambda one: one.failure(rules), chosen)
        return {one.name: text for one, text in zip(chosen, said, strict=True) if text}


@cache
def ensure_promtool() -> str:
    """Its path."""
    return str(ensure("promtool"))


@cache
def _parsed(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)  # noqa: S506


@cache
def _given(text: str) -> frozenset[str]:
    """The series that tests begin with."""
    groups = _parsed(text)["tests"]
    series = (one["series"] for group in groups for one in group.get("input_series", []))
    return frozenset(one.partition("{")[0] for one in series)


@cache
def _words(text: str) -> frozenset[str]:
    for separator in "{}()[]\"',/\n":
        text = text.replace(separator, " ")
    return frozenset(word.rstrip(":") for word in text.split())


@cache
def _selected(expression: str) -> frozenset[str]:
    try:
        return frozenset(use.sample for use in parse(expression))
    except ValueError:  # a broken one: promtool is to say so
        return frozenset()
