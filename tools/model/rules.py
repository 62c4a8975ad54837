"""What Prometheus' rule files say."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from tools.base.files import ROOT

FOLDER = ROOT / "prometheus"
Rule = dict[str, Any]
Rules = Mapping[str, dict[str, Any]]
"""The rule files, parsed, by their path within prometheus/."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def groups_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The groups of a rule file."""
    return list(document["groups"])


def rules_of(document: dict[str, Any]) -> Iterator[Rule]:
    """All rules of a rule file."""
    for group in groups_of(document):
        yield from group["rules"]


def rule_name(rule: Rule) -> str:
    """Of the alert, or of what is recorded, with its objective."""
    slo = rule.get("labels", {}).get("slo") if "record" in rule else ""
    return f"{rule.get('alert') or rule['record']}{f' of {slo}' if slo else ''}"


def shipped_rules() -> dict[str, dict[str, Any]]:
    """All rule files as they are on the disk."""
    paths = [FOLDER / "prometheus-alerts.yaml", *sorted((FOLDER / "rules").glob("*.yaml"))]
    return {str(path.relative_to(FOLDER)): yaml.load(path.read_text("utf-8"), Loader=_Loader) for path in paths}  # noqa: S506
