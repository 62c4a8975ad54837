"""A version of the repository as checks and plans read it: each part is read once."""

from functools import cached_property

from tools.base.files import Finding, Sources
from tools.model import contract
from tools.model.collector_yaml import CollectorYaml
from tools.model.consumers import Consumer, consumers
from tools.model.contract import Contract


class Repository:
    """The contract, the Collector's YAML, and who needs the series.

    Raises:
        SourceError: contract or YAML cannot be read.
    """

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
