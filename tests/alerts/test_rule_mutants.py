"""Every rule is broken, each reason is needed, and a break is tried; `make mutants ARGS=rules` tries all."""

from tests.support.mutants import idle_reasons
from tools.model.rules import shipped_rules
from tools.mutants.rules import REASONS, RuleTrial, mutants

ALL = list(mutants(shipped_rules()))


def test_every_rule_is_broken_in_several_ways() -> None:
    rules = {(mutant.path, mutant.place) for mutant in ALL}
    documents = shipped_rules()
    assert len(rules) == sum(len(group["rules"]) for document in documents.values() for group in document["groups"])
    assert len({(mutant.path, mutant.name, str(mutant.rule)) for mutant in ALL}) == len(ALL)


def test_a_rule_under_another_name_fails_its_own_test() -> None:
    first = ALL[0]
    assert first.name.endswith(" is another")
    assert RuleTrial().run(first).caught_by


def test_every_reason_is_needed() -> None:
    assert idle_reasons(REASONS, ALL) == []
