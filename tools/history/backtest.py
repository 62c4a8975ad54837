"""Two versions of rules and routes over the same history, by Prometheus' and Alertmanager's own packages.

The work is done by tools/go/backtest; here its request is made, and its answer read.
"""

import json
import os
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import promql_parser as promql

from tools.base.clock import zone
from tools.base.errors import CannotRunError
from tools.base.files import Sources
from tools.history.choice import History
from tools.model.consumers import RULES
from tools.stack.programs import Report, ensure

PROMETHEUS = "prometheus/prometheus.yml"
ALERTMANAGER = "alertmanager/alertmanager.yml"
TEMPLATES = "alertmanager/templates/*.tmpl"
FILES = (*RULES, PROMETHEUS, ALERTMANAGER, TEMPLATES)
AGAIN = 3600  # seconds; what fires again sooner flaps


@dataclass(frozen=True)
class Firing:
    """One time that one alert fired; Unix seconds, `end` None where it still does."""

    alert: str
    labels: dict[str, str]
    start: int
    end: int | None
    inhibited: list[tuple[int, int, str]]
    """From, to, and the alert that spoke instead."""
    held_back: list[str]
    """Time intervals that kept a notification back."""
    receivers: list[str]


@dataclass(frozen=True)
class Notification:
    """One that says that something fires."""

    time: int
    receiver: str
    alerts: list[str]
    repeat: bool


@dataclass(frozen=True)
class Evaluation:
    """What one version does over the history."""

    start: int
    end: int
    failed: list[str]
    """What could not be evaluated, in Prometheus' words."""
    firings: list[Firing]
    notifications: list[Notification]

    def behaviour(self, alert: str) -> "Behaviour":
        """What one alert does."""
        firings = [one for one in self.firings if one.alert == alert]
        shown = [(max(one.start, self.start), min(one.end or self.end, self.end)) for one in firings]
        held = [(start, end) for one in firings for start, end, _ in one.inhibited]
        told = Counter(one.receiver for one in self.notifications if alert in one.alerts)
        return Behaviour(
            len(firings),
            _length(_joined(shown)),
            sum(_flaps([one for one in firings if one.labels == labels]) for labels in _distinct(firings)),
            round(len(firings) * 86400 / (self.end - self.start), 1),
            _length(_joined(held)),
            dict(sorted(told.items())),
            _joined(shown),
            _joined(held),
            sorted({name for one in firings for name in one.held_back}),
        )


@dataclass(frozen=True)
class Behaviour:
    """How often, how long and how noisily an alert fires, and whom it reaches. Times are seconds."""

    firings: int = 0
    seconds: int = 0
    flaps: int = 0
    """How often it fired again within an hour."""
    a_day: float = 0.0
    inhibited: int = 0
    notifications: dict[str, int] = field(default_factory=dict)
    """By receiver, repeats included."""
    times: list[tuple[int, int]] = field(default_factory=list)
    """When any of it fired."""
    inhibited_times: list[tuple[int, int]] = field(default_factory=list)
    held_back: list[str] = field(default_factory=list)


def run(
    versions: Sequence[Sources], history: History, report: Report = lambda _: None, stepping: bool = False
) -> list[Evaluation]:
    """Evaluate each version.

    Args:
        versions: states of the files.
        history: over what.
        report: is told how far it is.
        stepping: let Prometheus' groups evaluate themselves step by step: slow, the measure of the fast way.

    Raises:
        CannotRunError: Prometheus or Alertmanager refuses a file, or the history cannot be read.
        ToolError: the backtest cannot be built.
        SourceError: a file cannot be read.
    """
    program = ensure("backtest", report)
    with tempfile.TemporaryDirectory(prefix="plan-") as folder:
        request = {
            **history.where,
            "start": history.start,
            "end": history.end,
            "warm_up": history.warm_up,
            "interval": _interval(versions[-1]),
            "versions": [_written(one, Path(folder) / str(number)) for number, one in enumerate(versions)],
            "stepping": stepping,
        }
        answer = _asked(program, request, Path(folder), report)
    refused = {
        f"{version.name}: {words}": None
        for version, result in zip(versions, answer["versions"], strict=True)
        for words in result["refused"] or []
    }  # once each, in order
    if refused:
        raise CannotRunError("\n".join(refused))
    return [_outcome(answer, result) for result in answer["versions"]]


def _written(sources: Sources, folder: Path) -> dict[str, Any]:
    """The version's files in a folder, and what the request says of them."""
    for path in sources.matching(*FILES):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(sources.text(path), "utf-8")
    folder.mkdir(exist_ok=True)
    return {
        "folder": str(folder),
        "rules": sources.matching(*RULES),
        "alertmanager": ALERTMANAGER if ALERTMANAGER in sources.paths else "",
        "external_labels": _external_labels(sources),
    }


def _external_labels(sources: Sources) -> dict[str, str]:
    """Those of Prometheus; as if every receiver were switched on, unless NOTIFY says which are."""
    said = _global(sources).get("external_labels", {})
    routes = sources.text(ALERTMANAGER) if ALERTMANAGER in sources.paths else ""
    everybody = ",".join(sorted(set(re.findall(r"/run/secrets/([a-z]+)-", routes))))
    notify = os.environ.get("NOTIFY", everybody)
    return {name: text.replace("${NOTIFY}", notify) for name, text in said.items()}


def _global(sources: Sources) -> dict[str, Any]:
    return dict(sources.yaml(PROMETHEUS).data.get("global", {})) if PROMETHEUS in sources.paths else {}


def _interval(sources: Sources) -> int:
    return int(promql.parse_duration(_global(sources).get("evaluation_interval", "1m")).total_seconds())


def _asked(program: Path, request: dict[str, Any], folder: Path, report: Report) -> dict[str, Any]:
    asked, answered = folder / "request.json", folder / "answer.json"
    asked.write_text(json.dumps(request), "utf-8")
    said = ""
    with (
        asked.open("rb") as given,
        answered.open("wb") as output,
        subprocess.Popen(
            [program],
            stdin=given,
            stdout=output,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=os.environ | {"TZ": zone().key},  # Alertmanager's, by which it knows the clinic's hours
        ) as process,
    ):
        assert process.stderr is not None  # noqa: S101 - it is a pipe
        for line in process.stderr:
            said = line.strip()
            report(f"rule {said}")
    if process.returncode:
        raise CannotRunError(f"the backtest ended with {process.returncode}: {said}")
    return dict(json.loads(answered.read_bytes()))


def _outcome(answer: dict[str, Any], result: dict[str, Any]) -> Evaluation:
    firings = [
        Firing(
            one["alert"],
            one["labels"],
            one["start"],
            one["end"] or None,
            [(span["start"], span["end"], span["by"]) for span in one["inhibited"]],
            one["held_back"],
            one["receivers"],
        )
        for one in result["firings"]
    ]
    notifications = [Notification(**one) for one in result["notifications"]]
    return Evaluation(answer["start"], answer["end"], result["failed"] or [], firings, notifications)


def _distinct(firings: list[Firing]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for one in firings:
        if one.labels not in found:
            found.append(one.labels)
    return found


def _flaps(firings: list[Firing]) -> int:
    ordered = sorted(firings, key=lambda one: one.start)
    return sum(before.end is not None and after.start - before.end < AGAIN for before, after in pairwise(ordered))


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Overlapping times as one."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def _length(spans: list[tuple[int, int]]) -> int:
    return sum(end - start for start, end in spans)
