"""What the checks look at, and how they say what is wrong with it."""

from collections.abc import Iterator
from functools import cached_property

from tools.base.files import Finding, Sources
from tools.model import contract
from tools.model.collector_yaml import CollectorYaml, Statement
from tools.model.consumers import Consumer, consumers
from tools.model.contract import Contract


class Checked:
    """What the checks look at: the contract and the Collector's YAML of one version."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.contract: Contract = contract.load(sources)
        self.yaml = CollectorYaml(sources)

    @cached_property
    def consumers(self) -> list[Consumer]:
        """Alerts, rules and panels. Raises SourceError."""
        return consumers(self.sources)

    def wrong(self, text: str, *keys: str | int) -> Finding:
        """A finding in the Collector's YAML."""
        return self.yaml.document.finding(text, *keys)

    def differ(self, one: Statement, found: set[str], wanted: set[str], what: str) -> Iterator[Finding]:
        """What a statement lists and the contract does not, and the other way round."""
        for missing in sorted(wanted - found):
            yield self.wrong(f"{what}: {missing} is missing, the contract has it", *one.keys)
        for surplus in sorted(found - wanted):
            yield self.wrong(f"{what}: {surplus} is not in {contract.PATH}", *one.keys)
