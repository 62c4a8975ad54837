"""The tests of the rules notice a broken rule; `python -m tools.mutants.rules` tries all ways of breaking them."""

from tests.support.mutants import idle_reasons, unexplained
from tools.model.rules import shipped_rules
from tools.mutants.rules import REASONS, Trial, mutants

SAMPLE = 24
ALL = list(mutants(shipped_rules()))


def test_every_rule_is_broken_in_several_ways() -> None:
    rules = {(mutant.path, mutant.place) for mutant in ALL}
    documents = shipped_rules()
    assert len(rules) == sum(len(group["rules"]) for document in documents.values() for group in document["groups"])
    assert len({(mutant.path, mutant.name, str(mutant.rule)) for mutant in ALL}) == len(ALL)


def test_a_sample_of_mutants_is_caught() -> None:
    assert unexplained(ALL, Trial().run, SAMPLE) == []


def test_every_reason_is_needed() -> None:
    assert idle_reasons(REASONS, ALL) == []
