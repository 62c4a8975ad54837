"""`make check`: do the Collector's YAML, the contract, rules, dashboards and docs say the same?

Takes a second, nothing is started. What cannot be seen by looking, such as a statement that does something else than it
says, `make plan` finds by running it.
"""

import argparse
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from simulator import entry
from tools.base.files import Finding, SourceError, Sources, collector_extras
from tools.check.collector import RULES as COLLECTOR_RULES
from tools.check.collector import Checked
from tools.model import collector_yaml, contract
from tools.model.alerts import alerts, targets
from tools.model.collector_yaml import CollectorYaml
from tools.model.consumers import RULES, Consumer, Use, consumers
from tools.model.contract import JOB, Contract
from tools.stack.programs import ProgramError, ensure
from tools.write import alerts_page, metrics_page

README = "otel-collector/README.md"
# Made by Prometheus itself about what it scrapes and evaluates.
PROMETHEUS_OWN = {"up", "scrape_samples_scraped", "scrape_duration_seconds", "ALERTS", "ALERTS_FOR_STATE"}
TARGET_LABELS = {"job", "instance", "__name__"}


def documents_variables(it: Checked) -> Iterator[Finding]:
    """Every `${env:…}` has a default and is in the README's table with that default, and no other is there."""
    text = it.sources.text(README)
    table = {
        name: line
        for line in text.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([A-Z_]{4,})`", line)
    }
    used = set()
    defaults: dict[str, str] = {}
    for name, rest, number in it.yaml.variables:
        used.add(name)
        default = rest.removeprefix(":-")
        if not rest.startswith(":-") or not default:
            problem = f"{name} has no default: unset it would be empty, 0 or a panic; write ${{env:{name}:-…}}"
            yield Finding(collector_yaml.PATH, number, problem)
        elif f"`{default}`" not in table.get(name, f"`{default}`"):
            yield Finding(collector_yaml.PATH, number, f"{name}: the default {default} is not the one in {README}")
        if name not in table:
            yield Finding(collector_yaml.PATH, number, f"{name} is not in the table of variables in {README}")
        if (other := defaults.setdefault(default, name)) != name and re.search(r":\d+$|^\d{4,}$", default):
            yield Finding(
                collector_yaml.PATH, number, f"{name} and {other} have the same default {default}: ports clash"
            )
    for name in sorted(table.keys() - used):
        line = text.splitlines().index(table[name]) + 1
        yield Finding(README, line, f"{name} is in the table of variables, but {collector_yaml.PATH} does not use it")


def knows_what_is_asked(it: Checked) -> Iterator[Finding]:
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
    return set(rules.health_samples[sample].labels) if sample in rules.health_samples else set()


def writes_metrics_page(it: Checked) -> Iterator[Finding]:
    """docs/metrics.md is what the contract says."""
    wanted = metrics_page.page(it.contract, it.consumers)
    if metrics_page.PAGE not in it.sources.paths or it.sources.text(metrics_page.PAGE) != wanted:
        yield Finding(metrics_page.PAGE, 0, f"is not what {contract.PATH} says: `make docs` writes it")


def writes_alert_pages(it: Checked) -> Iterator[Finding]:
    """docs/alerts.md and the runbooks' first lines are what the rules say."""
    for path, wanted in alerts_page.pages(it.sources):
        if it.sources.text(path) != wanted:
            yield Finding(path, 0, "is not what the rules say: `make docs` writes it")


_SAYS = re.compile(r"\(alert (?:above|below) ([^,)]+)(?:, target (?:above |below )?([^)]+))?\)")


def tells_limits_and_targets(it: Checked) -> Iterator[Finding]:
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


def validates(it: Checked) -> Iterator[Finding]:
    """The real Collector takes the file: names, keys, references, statements."""
    with tempfile.TemporaryDirectory() as folder:
        files = it.yaml.write(Path(folder))
        environment = {**os.environ, "QUEUE_DIRECTORY": f"{folder}/queue"}
        run = subprocess.run(
            [ensure("otelcol"), "validate", *(f"--config={file}" for file in files)],
            env=environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
    if run.returncode:
        said = run.stderr or run.stdout
        for file, path in zip(files, (collector_yaml.PATH, collector_extras()), strict=True):
            said = said.replace(str(file), path)
        lines = [line.strip() for line in said.strip().splitlines()] or ["no reason given"]
        yield it.wrong("otelcol validate: " + " ".join(lines[:6]), *_blamed(said))


def _blamed(said: str) -> list[str]:
    """The keys of the component that the Collector names in one of its two ways; empty if it names none."""
    if named := re.search(r"[\w/]+(?:::[\w/]+)+", said):
        return named[0].split("::")
    return (
        list(named.groups()) if (named := re.search(r"'(\w+)' error reading configuration for \"(\S+)\"", said)) else []
    )


def promtool_agrees(it: Checked) -> Iterator[Finding]:
    """Prometheus' own checker takes its rule files."""
    for path in it.sources.matching(*RULES):
        command, text = (str(ensure("promtool")), "check", "rules"), it.sources.text(path)
        run = subprocess.run(command, input=text, capture_output=True, encoding="utf-8", check=False)
        if run.returncode:
            said = " ".join((run.stderr or run.stdout).replace("standard input", path).split())
            yield Finding(path, 0, f"promtool check rules: {said}")


STATIC: tuple[Callable[[Checked], Iterator[Finding]], ...] = (
    *COLLECTOR_RULES,
    documents_variables,
    knows_what_is_asked,
    writes_metrics_page,
    writes_alert_pages,
    tells_limits_and_targets,
)
PROGRAMS: tuple[Callable[[Checked], Iterator[Finding]], ...] = (validates, promtool_agrees)


def static(it: Checked) -> Iterator[str]:
    """The names of the rules that something breaks; nothing is run, generated pages are left out."""
    for rule in (*COLLECTOR_RULES, documents_variables, knows_what_is_asked):
        if next(rule(it), None):
            yield rule.__name__


def check(sources: Sources, programs: bool = True) -> list[Finding]:
    """All that is wrong, by file and line; `programs` False leaves out what asks the real binaries."""
    findings = list(_unreadable(sources))
    if not findings:
        it = Checked(sources)
        findings = [finding for rule in (*STATIC, *(PROGRAMS if programs else ())) for finding in rule(it)]
    return sorted(set(findings))


def _unreadable(sources: Sources) -> Iterator[Finding]:
    """Files that cannot be parsed, all of them at once."""
    for read in (contract.load, CollectorYaml, consumers):
        try:
            read(sources)
        except SourceError as error:
            yield from error.findings
    shipped = sources.matching("otel-collector/*.yaml", "prometheus/*.y*ml", "tempo/*.yaml", "jaeger/*.yaml")
    for path in {*shipped, collector_extras()}:
        try:
            _ = sources.yaml(path).data
        except SourceError as error:
            yield from error.findings


def main(arguments: list[str] | None = None) -> int:
    """Print what is wrong; 0 if nothing is, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tools.commands.check", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    as_json = parser.parse_args(arguments).json
    console = Console(highlight=False, soft_wrap=True)
    started = time.monotonic()
    try:
        findings = check(Sources.of_disk())
    except ProgramError as error:
        console.print(f"[red]{escape(str(error))}[/]")
        return 1
    if as_json:
        print(json.dumps([{"file": one.file, "line": one.line, "text": one.text} for one in findings], indent=2))
    else:
        for one in findings:
            place = f"{one.file}:{one.line}" if one.line else one.file
            console.print(f"[bold]{escape(place)}[/] {escape(one.text)}")
        seconds = time.monotonic() - started
        done = f"{len(STATIC) + len(PROGRAMS)} checks in {seconds:.1f} s"
        console.print(f"[red]{len(findings)} wrong[/], {done}" if findings else f"[green]✓[/] all agree, {done}")
    return bool(findings)


if __name__ == "__main__":
    entry.run(main)
