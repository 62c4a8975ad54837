"""What docs/alerts.md and the runbooks say of the rules: tables, numbers of the objectives, each runbook's first line.

`make docs` writes them, `make check` compares; the rest of these pages is people's.
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from tools.base.files import Finding, Sources
from tools.model import contract
from tools.model.alerts import Alert, alerts, objectives, targets
from tools.model.consumers import consumers
from tools.model.contract import Target
from tools.model.repository import Repository

PAGE, RUNBOOKS = "docs/alerts.md", "docs/runbooks/*.md"
_HEAD = "| alert | fires when | limit | window | for | guard |\n|---|---|---|---|---|---|\n"


def pages(sources: Sources) -> Iterator[tuple[str, str]]:
    """Path and text of each page, with what the rules say of now. Raises SourceError."""
    found = {one.name: one for one in alerts(sources)}
    of = targets(list(found.values()), contract.load(sources), consumers(sources))
    for path in sources.matching(PAGE):
        yield path, _page(sources.text(path), list(found.values()), objectives(sources))
    for path in sources.matching(RUNBOOKS):
        if alert := found.get(PurePosixPath(path).stem):
            yield path, _runbook(sources.text(path), first_line(alert, of.get(alert.name)))


def first_line(alert: Alert, target: Target | None) -> str:
    """A runbook's: how bad, what is wrong, when it fires, what would be good, and who names the cause."""
    if alert.severity == "none":
        return "Always fires."
    guard = f", at least {alert.guard} events" if alert.guard else ""
    parts = {
        "Limit": alert.limit.words if alert.limit else "",
        "Window": " and ".join(alert.windows) + guard,
        "For": alert.wait,
        "Target": str(target or ""),
    }
    numbers = [f"{name}: {words}." for name, words in parts.items() if words]
    cause = f"Cause: `make why ALERT={alert.name}`."
    return " ".join([f"{alert.severity.title()}. {_sentence(alert.summary)}.", *numbers, cause])


def _page(text: str, found: list[Alert], shares: dict[str, float]) -> str:
    for severity in ("Critical", "Warning", "Info"):
        table = _HEAD + "".join(_row(one) for one in found if one.severity == severity.lower())
        text = _replaced(rf"(?<=^## {severity})(.*\n)(?:\|.*\n)+", table, text)
    for name, share in shares.items():
        cells = f" {_percent(share)} | {_percent(1 - share)} of them |"
        text = _replaced(rf"(^\| `{name}` \|.*?\|).*\|$", cells, text)
    return text


def _replaced(pattern: str, new: str, text: str) -> str:
    """What follows the pattern's group is replaced."""
    return re.sub(pattern, lambda match: match[1] + new, text, flags=re.MULTILINE)


def _row(alert: Alert) -> str:
    cells = [
        f"[{alert.name}](runbooks/{alert.name}.md)",
        _sentence(alert.summary),
        alert.limit.words if alert.limit else "",
        " and ".join(alert.windows),
        alert.wait,
        str(alert.guard or ""),
    ]
    return re.sub(r"\|  (?=\|)", "| ", f"| {' | '.join(cells)} |\n")


def _runbook(text: str, line: str) -> str:
    title, _, *rest = text.split("\n")
    return "\n".join([title, line, *rest])


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _percent(share: float) -> str:
    return f"{share * 100:.6g}%"


def writes_alert_pages(it: Repository) -> Iterator[Finding]:
    """docs/alerts.md and the runbooks' first lines are what the rules say."""
    for path, wanted in pages(it.sources):
        if it.sources.text(path) != wanted:
            yield Finding(path, 0, "is not what the rules say: `make docs` writes it")
