"""The tests of the rules are tested.

Every operator, number, window, label, `for`, aggregation and guard of every rule in prometheus/ is changed in turn;
some test in prometheus/tests must fail for each. A survivor needs a reason in rules.yaml beside this file.
"""

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser as promql
from rich.console import Console

from tools.check.rule_tests import RuleTests, shipped_tests
from tools.model.rules import Rule, Rules, groups_of, rule_name, shipped_rules
from tools.mutants.verdicts import Choice, Verdict, reason, some, tried

REASONS = Path(__file__).with_suffix(".yaml")
_TELLING = "^(fires|each)"  # most mutants fail these tests, so the others need not run for them

_STRING = r'"(?:[^"\\]|\\.)*"'
_TEXTS = re.compile(_STRING)
# Outside of texts, each place is changed alone.
_CHANGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r" > ", (" >= ", " < ")),
    (r" < ", (" <= ", " > ")),
    (r" >= ", (" > ", " < ")),
    (r" == ", (" != ",)),
    (r" / ", (" * ",)),
    (r" \* ", (" / ",)),
    (r" \+ ", (" - ",)),
    (r" - ", (" + ",)),
    (r"\band\b", ("or", "unless")),
    (r"\bor\b", ("and", "unless")),
    (r"\bunless\b", ("and", "or")),
    (r"\brate\(", ("irate(", "increase(")),
    (r"\bincrease\(", ("delta(", "rate(")),
    (r"\bmin_over_time\(", ("max_over_time(",)),
    (r"\bmax_over_time\(", ("min_over_time(",)),
    (r"\bsum_over_time\(", ("avg_over_time(",)),
    (r"\bsum\b(?=[ (])", ("max", "min")),
    (r"\bmax\b(?=[ (])", ("sum", "min")),
    (r"\bmin\b(?=[ (])", ("max",)),
    (r"\bcount\b(?=[ (])", ("sum",)),
    (r"\bby \([^)]*\) ", ("",)),
)
_NUMBER = re.compile(r"(?<![\w.:])\d+(?:\.\d+)?(?![\w.:])")
_DURATION = re.compile(r"(?<=\[)\d+[mhd](?=\])|(?<=offset )\d+[mhd]")
_LABELS = re.compile(r"(?:\bby|\bon) \(([^)]+)\)")
_MATCHER = re.compile(rf"(?P<label>\w+)(?P<operator>=~|!~|!=|=)(?P<value>{_STRING})(?P<comma>,?)")
_OPPOSITE = {"=": "!=", "!=": "=", "=~": "!~", "!~": "=~"}


@dataclass(frozen=True)
class RuleMutant:
    """One change of one rule. `place`: its group and its number there."""

    path: str
    place: tuple[int, int]
    name: str
    rule: Rule

    def laid_over(self, rules: Rules) -> dict[str, dict[str, Any]]:
        """The rule files with it."""
        group, number = self.place
        groups = list(groups_of(rules[self.path]))
        changed = list(groups[group]["rules"])
        changed[number] = self.rule
        groups[group] = groups[group] | {"rules": changed}
        return {**rules, self.path: {"groups": groups}}


def mutants(rules: Rules) -> Iterator[RuleMutant]:
    """All there are, in the order of the files."""
    for path, document in rules.items():
        for group, one in enumerate(groups_of(document)):
            for number, rule in enumerate(one["rules"]):
                for what, changed in _of_rule(rule):
                    yield RuleMutant(path, (group, number), f"{rule_name(rule)} {what}", changed)


def _of_rule(rule: Rule) -> Iterator[tuple[str, Rule]]:
    for key in ("alert", "record"):
        if key in rule:
            yield f"{key} is another", rule | {key: f"{rule[key]}x"}
    if wait := re.fullmatch(r"(\d+)([mh])", str(rule.get("for", ""))):
        yield "for is gone", {key: value for key, value in rule.items() if key != "for"}
        yield "for is twice as long", rule | {"for": f"{int(wait[1]) * 2}{wait[2]}"}
        yield "for is half as long", rule | {"for": f"{int(wait[1]) * (30 if wait[2] == 'm' else 1800)}s"}
    for part in ("labels", "annotations"):
        for key, value in rule.get(part, {}).items():
            yield f"{part}.{key} is another", _with(rule, part, {key: f"{value}x"})
            yield f"{part}.{key} is gone", _without(rule, part, key)
    for what, expression in broken(str(rule["expr"]).strip()):
        yield f"expr {what}", rule | {"expr": expression}


def broken(before: str) -> Iterator[tuple[str, str]]:
    """Each way to break an expression, and the expression then; none that means the same as it or as another."""
    seen = {_meaning(before)}
    for at, end, other in _of_expression(before):
        expression = before[:at] + other + before[end:]
        if (meaning := _meaning(expression)) and meaning not in seen:
            seen.add(meaning)
            is_zero = any(begin <= at < stop for begin, stop in _zeroed(before))
            where = "in what is multiplied by 0 " if is_zero else ""
            yield f"{where}{_shown(before, at, end, other)}", expression


def _with(rule: Rule, part: str, entries: dict[str, Any]) -> Rule:
    return rule | {part: rule[part] | entries}


def _without(rule: Rule, part: str, key: str) -> Rule:
    changed = copy.deepcopy(rule)
    del changed[part][key]
    return changed


@cache
def _meaning(expression: str) -> str:
    """The expression without its layout; empty if it is none."""
    try:
        return str(promql.parse(expression))
    except ValueError:
        return ""


def _shown(text: str, at: int, end: int, other: str) -> str:
    """The place and what changes there."""
    flat = " ".join
    before, after = text[max(0, at - 50) : at], text[end : end + 30]
    return flat(f"…{before}⟦{text[at:end].strip()} → {other.strip() or 'gone'}⟧{after}…".split())


def _of_expression(text: str) -> Iterator[tuple[int, int, str]]:
    """Begin, end, and what stands there instead."""
    blank = _TEXTS.sub(lambda match: " " * len(match[0]), text)
    for pattern, others in _CHANGES:
        for match in re.finditer(pattern, blank):
            yield from ((match.start(), match.end(), other) for other in others)
    for match in _NUMBER.finditer(blank):
        yield from ((match.start(), match.end(), other) for other in _numbers(match[0]))
    for match in _DURATION.finditer(blank):
        yield from ((match.start(), match.end(), other) for other in _durations(match[0]))
    for match in _LABELS.finditer(blank):
        labels = [label.strip() for label in match[1].split(",")]
        yield from (
            (match.start(1), match.end(1), ", ".join(one for one in labels if one != label)) for label in labels
        )
    for match in _MATCHER.finditer(text):
        yield from _of_matcher(match)
    for match in re.finditer(r"\n\s*(?:and|or|unless) .*", blank):  # a whole guard
        yield match.start(), match.end(), ""


def _zeroed(text: str) -> Iterator[tuple[int, int]]:
    """Where `0 * x` stand, x included: it is 0 wherever x has a series, whatever x is."""
    for match in re.finditer(r"\b0 \* (?:\w+(?: by \([^)]*\) )?\()?", text):
        end = match.end()
        depth = int(match[0].endswith("("))
        while depth and end < len(text):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        yield match.start() + 1, end


def _of_matcher(match: re.Match[str]) -> Iterator[tuple[int, int, str]]:
    yield match.start(), match.end(), ""
    yield match.start("operator"), match.end("operator"), _OPPOSITE[match["operator"]]
    words = match["value"].strip('"').split("|")
    for word in words[1:] and words:
        rest = "|".join(one for one in words if one != word)
        yield match.start("value"), match.end("value"), f'"{rest}"'


def _durations(text: str) -> Iterator[str]:
    count, unit = int(text[:-1]), text[-1]
    yield f"{count * 2}{unit}"
    yield {"m": f"{count * 30}s", "h": f"{count * 30}m", "d": f"{count * 12}h"}[unit]


def _numbers(text: str) -> Iterator[str]:
    value = float(text)
    if value == 0:
        yield from ("1",)
        return
    if 0 < value < 1:
        yield f"{min(value * 1.1, 0.99):g}"
    else:
        yield f"{value * 1.1:.10g}"
    yield f"{value * 0.9:.10g}"
    if value == int(value) and value <= 100:
        yield from (f"{value + 1:g}", f"{value - 1:g}")


class RuleTrial:
    """Tries mutants against the tests."""

    def __init__(self) -> None:
        self.rules = shipped_rules()
        self._tests = shipped_tests()

    def run(self, mutant: RuleMutant) -> Verdict[RuleMutant]:
        """Whether a test fails on it: those that are about the rule first, then those that need it."""
        rules = mutant.laid_over(self.rules)
        for one in self._looking_at(mutant):
            if one.failure(rules, _TELLING) or one.failure(rules):
                return Verdict(mutant, one.name)
        return Verdict(mutant, reason=reason(REASONS, mutant))

    def _original(self, mutant: RuleMutant) -> Rule:
        group, number = mutant.place
        rule: Rule = groups_of(self.rules[mutant.path])[group]["rules"][number]
        return rule

    def _looking_at(self, mutant: RuleMutant) -> list[RuleTests]:
        original = self._original(mutant)
        found = [
            one
            for one in self._tests
            if mutant.path in one.files and any(rule is original for rule in one.needed(self.rules))
        ]
        return sorted(found, key=lambda one: (not one.names(original), len(one.text)))


def judge(choice: Choice, console: Console) -> bool:
    """Try them; whether none survives without a reason."""
    trial = RuleTrial()
    chosen = some(choice.of(list(mutants(trial.rules))), choice.sample)
    return choice.names_only or tried(chosen, trial.run, choice.jobs, console, by_whom=False)
