"""What rules and panels ask for, against the contract."""

import re
from collections.abc import Iterator

from tools.base.files import Finding
from tools.model import contract
from tools.model.alerts import alerts, targets
from tools.model.consumers import Consumer, Use
from tools.model.contract import JOB, Contract
from tools.model.repository import Repository

# Made by Prometheus itself about what it scrapes and evaluates.
PROMETHEUS_OWN = {"up", "scrape_samples_scraped", "scrape_duration_seconds", "ALERTS", "ALERTS_FOR_STATE"}
_SAYS = re.compile(r"\(alert (?:above|below) ([^,)]+)(?:, target (?:above |below )?([^)]+))?\)")
TARGET_LABELS = {"job", "instance", "__name__"}


def knows_what_is_asked(it: Repository) -> Iterator[Finding]:
    """Every metric, label and value that a rule or a panel asks for is in the contract."""
    found = it.consumers
    recorded = {consumer.records for consumer in found if consumer.records}
    for consumer in found:
        problems = [problem for use in consumer.uses for problem in _problems(it.contract, use, recorded)]
        for problem in problems or _ungrouped(it.contract, consumer, recorded):
            yield Finding(consumer.file, consumer.line, f"{consumer}: {problem}")


def _ungrouped(rules: Contract, consumer: Consumer, recorded: set[str]) -> Iterator[str]:
    """Labels that `by` or `on` name and nothing selected has; recorded series may have any."""
    if not any(use.sample in recorded or not use.sample for use in consumer.uses):
        labels = TARGET_LABELS.union(*(_labels_of(rules, use.sample) for use in consumer.uses))
        for label in sorted(set().union(*(use.grouped for use in consumer.uses)) - labels):
            yield f"nothing that it selects has the label {label}"


def _problems(rules: Contract, use: Use, recorded: set[str]) -> Iterator[str]:
    if not use.sample or use.sample in recorded | PROMETHEUS_OWN:
        return
    if use.sample not in rules.samples:
        if use.sample not in rules.health_samples:
            yield f"{use.sample} is not in {contract.PATH}"
        return
    allowed = rules.own_labels(use.sample) | TARGET_LABELS
    for matcher in use.matchers:
        if matcher.label not in allowed:
            yield f"{use.sample} has no label {matcher.label}"
        elif matcher.operator in ("=", "=~") and not any(map(matcher.takes, _known(rules, matcher.label))):
            yield f"{matcher} selects nothing of {use.sample}"
        elif matcher.operator == "=~" and (idle := _idle(rules, matcher.label, matcher.value)):
            yield f"{matcher}: {idle} is no value of {matcher.label}"


def _known(rules: Contract, label: str) -> set[str]:
    if label == "le":
        return {f"{edge:g}" for edge in rules.buckets} | {"+Inf"}
    return {"job": {JOB}, "instance": {"any"}}.get(label) or rules.closed_set(label)


def _idle(rules: Contract, label: str, pattern: str) -> str:
    """The first plain alternative of a pattern that no value is."""
    words = pattern.split("|")
    plain = all(re.fullmatch(r"[\w./-]+", word) for word in words)
    return next((word for word in words if plain and word not in _known(rules, label)), "")


def _labels_of(rules: Contract, sample: str) -> set[str]:
    if sample in rules.samples:
        return rules.own_labels(sample)
    if sample == "ALERTS":
        return {"alertname", "alertstate", "severity"}
    return set(rules.health_samples[sample].labels) if sample in rules.health_samples else set()


def tells_limits_and_targets(it: Repository) -> Iterator[Finding]:
    """An alert that says at what it fires says its rule's number, one that says the target the contract's."""
    found = alerts(it.sources)
    of = targets(found, it.contract, it.consumers)
    for alert in found:
        said = _SAYS.search(alert.description)
        limit, target = said.groups() if said else (None, None)
        for text, one in ((limit, alert.limit), (target, of.get(alert.name))):
            if text and text != (one.number if one else ""):
                problem = f"says {text}, the number is {one.number if one else 'none'}"
                yield Finding(alert.file, alert.line, f"alert {alert.name} {problem}")
        if said and alert.name in of and not target:
            yield Finding(alert.file, alert.line, f"alert {alert.name} does not say its target, {of[alert.name]}")
