"""Do YAML, contract, rules, dashboards and docs agree?

Takes a second, nothing is started. What cannot be seen by looking, such as a statement that does something else than it
says, `plan` finds by running it. Exit code: 1 if something is wrong.
"""

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from rich.markup import escape

from tools.base.console import terminal
from tools.base.files import Finding, SourceError, Sources
from tools.check.collector import RULES as COLLECTOR_RULES
from tools.check.collector import Checked
from tools.model import collector_yaml, contract
from tools.model.collector_yaml import CollectorYaml
from tools.model.consumers import RULES, Consumer, Use, consumers
from tools.model.contract import JOB, Contract
from tools.stack.programs import ensure
from tools.write import metrics_page

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


def validates(it: Checked) -> Iterator[Finding]:
    """The real Collector takes the file: names, keys, references, statements."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(it.yaml.raw.text, "utf-8")
        environment = {**os.environ, "QUEUE_DIRECTORY": f"{folder}/queue"}
        run = subprocess.run(
            [ensure("otelcol"), "validate", f"--config={file}"],
            env=environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
    if run.returncode:
        said = (run.stderr or run.stdout).replace(str(file), collector_yaml.PATH).strip().splitlines() or [
            "no reason given"
        ]
        yield Finding(
            collector_yaml.PATH, _blamed(it, said), "otelcol validate: " + " ".join(line.strip() for line in said[:6])
        )


def _blamed(it: Checked, said: list[str]) -> int:
    """The line of the component that the Collector names, such as processors::transform/spans."""
    for words in re.findall(r"[\w/]+(?:::[\w/]+)+", " ".join(said)):
        if line := it.yaml.document.line(*words.split("::")):
            return line
    return 0


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
    for path in sources.matching("otel-collector/*.yaml", "prometheus/*.y*ml", "tempo/*.yaml", "jaeger/*.yaml"):
        try:
            _ = sources.yaml(path).data
        except SourceError as error:
            yield from error.findings


@click.command("check", help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(as_json: bool) -> int:
    console, started = terminal(), time.monotonic()
    findings = check(Sources.of_disk())
    if as_json:
        print(json.dumps([{"file": one.file, "line": one.line, "text": one.text} for one in findings], indent=2))
    else:
        for one in findings:
            place = f"{one.file}:{one.line}" if one.line else one.file
            console.print(f"[bold]{escape(place)}[/] {escape(one.text)}")
        done = f"{len(STATIC) + len(PROGRAMS)} checks in {time.monotonic() - started:.1f} s"
        console.print(f"[red]{len(findings)} wrong[/], {done}" if findings else f"[green]✓[/] all agree, {done}")
    return int(bool(findings))
