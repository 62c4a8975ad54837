"""The day that ships, in a Prometheus of its own: with what the rules record, and with the alerts that fire."""

import hashlib
import json
import math
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.base.errors import ToolError
from tools.base.files import Sources
from tools.base.prometheus import Prometheus
from tools.history import backtest
from tools.history.choice import History, played_day
from tools.model.consumers import RULES
from tools.model.dashboard import SCRAPE, seconds
from tools.stack.history_server import create, served
from tools.stack.programs import Report, cache_folder, made_once


@dataclass(frozen=True)
class _Recorded:
    name: str
    expression: str
    labels: dict[str, str]
    interval: int


def blocks(sources: Sources, report: Report = lambda _: None) -> tuple[History, Path]:
    """The day, and a folder of blocks with all of it, made once for the same day and rules.

    Raises:
        ToolError: it cannot be made.
    """
    day = played_day(sources, report)
    made_of = [day.where, *(sources.text(path) for path in sources.matching(*RULES)), Path(__file__).read_text("utf-8")]
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]

    def make(made: Path) -> None:
        shutil.copytree(day.where["blocks"], made)
        _record(sources, day, made, report)

    return day, made_once(cache_folder() / "history" / f"{digest}-recorded", make, report)


@contextmanager
def serving(blocks: Path) -> Iterator[Prometheus]:
    """A Prometheus over a copy of these blocks. Raises ToolError."""
    with tempfile.TemporaryDirectory(prefix="preview-") as name:
        data = shutil.copytree(blocks, Path(name) / "data")
        with served(data, Path(name)) as url, Prometheus(url) as asked:
            yield asked


def _record(sources: Sources, day: History, folder: Path, report: Report) -> None:
    """Rules that read what other rules record come after those."""
    left = list(_rules(sources))
    while left:
        names = {rule.name for rule in left}
        ready = [rule for rule in left if not names & set(re.findall(r"[\w:]+", rule.expression))]
        if not ready:
            raise ToolError(f"rules read each other in a circle: {', '.join(sorted(names))}")
        left = [rule for rule in left if rule not in ready]
        with serving(folder) as prometheus:
            lines = [line for rule in ready for line in _values(prometheus, rule, day, report)]
        _add(lines, folder)
    report("which alerts fire")
    [outcome] = backtest.run([sources], day, report)
    _add(_alerts(outcome), folder)


def _rules(sources: Sources) -> Iterator[_Recorded]:
    for path in sources.matching(*RULES):
        for group in sources.yaml(path).data["groups"]:
            interval = seconds(group.get("interval", f"{SCRAPE}s"))
            for rule in group["rules"]:
                if "record" in rule:
                    yield _Recorded(rule["record"], rule["expr"], rule.get("labels", {}), interval)


def _values(prometheus: Prometheus, rule: _Recorded, day: History, report: Report) -> Iterator[str]:
    report(f"what rules record: {rule.name}")
    for series in prometheus.range(rule.expression, day.start - day.warm_up, day.end, rule.interval):
        labels = {key: value for key, value in series.labels.items() if key != "__name__"} | rule.labels
        for at, value in series.points:
            if not math.isnan(value):
                yield f"{rule.name}{_braces(labels)} {value} {at:.0f}\n"


def _alerts(outcome: backtest.Evaluation) -> list[str]:
    return [
        f"ALERTS{_braces({'alertname': one.alert, 'alertstate': 'firing', **one.labels})} 1 {at}\n"
        for one in outcome.firings
        for at in range(one.start, (one.end or outcome.end) + 1, SCRAPE)
    ]


def _braces(labels: dict[str, str]) -> str:
    return "{" + ",".join(f"{key}={json.dumps(value)}" for key, value in labels.items()) + "}"


def _add(lines: Sequence[str], folder: Path) -> None:
    text = folder.with_name("recorded.txt")
    text.write_text("".join([*lines, "# EOF\n"]), "utf-8")
    create(text, folder, "what the rules record")
