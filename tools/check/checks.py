"""All checks of a version of the repository's files: do they say the same?"""

from collections.abc import Callable, Iterator

from tools.base.files import Finding, SourceError, Sources, collector_extras
from tools.check.alerts_page import writes_alert_pages
from tools.check.collector import RULES as COLLECTOR_RULES
from tools.check.consumers import knows_what_is_asked, tells_limits_and_targets
from tools.check.metrics_page import writes_metrics_page
from tools.check.programs import promtool_agrees, validates
from tools.check.pushed import pushes_instruments
from tools.check.variables import documents_variables
from tools.model import contract
from tools.model.collector_yaml import CollectorYaml
from tools.model.consumers import consumers
from tools.model.repository import Repository

DASHBOARDS = "grafana/dashboards/*.json"


def dashboards_keep_their_promises(it: Repository) -> Iterator[Finding]:
    """Titles, lines, colours, axes, legends and links of every panel are the promised ones."""
    from tools.check.dashboards import broken_promises

    for path in it.sources.matching(DASHBOARDS):
        for problem in broken_promises(path, it.sources.text(path)):
            yield Finding(path, 0, problem)


STATIC: tuple[Callable[[Repository], Iterator[Finding]], ...] = (
    *COLLECTOR_RULES,
    pushes_instruments,
    documents_variables,
    knows_what_is_asked,
    dashboards_keep_their_promises,
    writes_metrics_page,
    writes_alert_pages,
    tells_limits_and_targets,
)
PROGRAMS: tuple[Callable[[Repository], Iterator[Finding]], ...] = (validates, promtool_agrees)


def static(it: Repository) -> Iterator[str]:
    """The names of the rules that something breaks; nothing is run, generated pages are left out."""
    for rule in (*COLLECTOR_RULES, pushes_instruments, documents_variables, knows_what_is_asked):
        if next(rule(it), None):
            yield rule.__name__


def check(sources: Sources, programs: bool = True) -> list[Finding]:
    """All that is wrong, by file and line; `programs` False leaves out what asks the real binaries."""
    findings = list(_unreadable(sources))
    if not findings:
        it = Repository(sources)
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
