"""The tests of the rules notice a broken rule; `python -m tools.rule_mutants` tries all ways of breaking them."""

import re

import yaml

from tools.judging import some
from tools.rule_mutants import REASONS, Trial, mutants
from tools.rule_tests import shipped

SAMPLE = 24
ALL = list(mutants(shipped()))


def test_every_rule_is_broken_in_several_ways() -> None:
    rules = {(mutant.path, mutant.place) for mutant in ALL}
    documents = shipped()
    assert len(rules) == sum(len(group["rules"]) for document in documents.values() for group in document["groups"])
    assert len({(mutant.path, mutant.name, str(mutant.rule)) for mutant in ALL}) == len(ALL)


def test_a_sample_of_mutants_is_caught() -> None:
    trial = Trial()
    verdicts = [trial.run(mutant) for mutant in some(ALL, SAMPLE)]
    assert [verdict.mutant.name for verdict in verdicts if not verdict.caught_by and not verdict.reason] == []


def test_every_reason_is_needed() -> None:
    names = [mutant.name for mutant in ALL]
    patterns = [one["mutants"] for one in yaml.safe_load(REASONS.read_text())]
    assert [one for one in patterns if not any(re.search(one, name) for name in names)] == []
