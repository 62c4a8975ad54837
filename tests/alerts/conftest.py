"""The shipped rules, and what is written about them."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.base.files import ROOT
from tools.model.rules import rules_of, shipped_rules

RULES = shipped_rules()
RUNBOOKS = ROOT / "docs" / "runbooks"
DOCUMENTED = "prometheus-alerts.yaml"


@dataclass(frozen=True)
class Alert:
    """An alerting rule."""

    file: str
    rule: dict[str, Any]

    @property
    def name(self) -> str:
        """Its name, which is its runbook's too."""
        return str(self.rule["alert"])

    @property
    def labels(self) -> dict[str, str]:
        """Severity, signal and the like."""
        return dict(self.rule["labels"])

    @property
    def annotations(self) -> dict[str, str]:
        """Texts and links."""
        return dict(self.rule["annotations"])

    @property
    def minutes(self) -> int:
        """How long it has to last."""
        match = re.fullmatch(r"(\d+)([mh])", self.rule.get("for", "0m"))
        assert match
        return int(match[1]) * {"m": 1, "h": 60}[match[2]]

    @property
    def runbook(self) -> Path:
        """The file that its link names."""
        return RUNBOOKS / self.annotations["runbook_url"].rpartition("/")[2]


ALERTS = {
    rule["alert"]: Alert(path, rule)
    for path, document in RULES.items()
    for rule in rules_of(document)
    if "alert" in rule
}
