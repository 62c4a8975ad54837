"""The day that ships, in a Prometheus of its own: with what the rules record, and with the alerts that fire."""

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

from tools import components
from tools.components import HOST, Component, Ports
from tools.consumers import RULES
from tools.plan import backtest
from tools.plan.history import History, shipped
from tools.preview.answers import Prometheus
from tools.preview.dashboard import SCRAPE, PreviewError, duration
from tools.programs import Report, cache_folder, ensure, locked
from tools.sources import Sources


@dataclass(frozen=True)
class _Recorded:
    name: str
    expression: str
    labels: dict[str, str]
    interval: int


def blocks(sources: Sources, report: Report = lambda _: None) -> tuple[History, Path]:
    """The day, and a folder of blocks with all of it, made once for the same day and rules.

    Raises:
        CannotRunError, PreviewError, ProgramError, SourceError: it cannot be made.
    """
    day = shipped(sources, report)
    made_of = [day.where, *(sources.text(path) for path in sources.matching(*RULES)), Path(__file__).read_text("utf-8")]
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]
    target = cache_folder() / "history" / f"{digest}-recorded"
    if not target.exists():
        with locked(cache_folder() / "locks" / f"recorded-{digest}", report):
            if not target.exists():
                with tempfile.TemporaryDirectory(prefix=".making-", dir=target.parent) as folder:
                    made = Path(folder) / "blocks"
                    shutil.copytree(day.where["blocks"], made)
                    _record(sources, day, made, report)
                    made.rename(target)
    return day, target


@contextmanager
def serving(blocks: Path) -> Iterator[Prometheus]:
    """A Prometheus over a copy of these blocks, which nothing is scraped into. Raises PreviewError, ProgramError."""
    with tempfile.TemporaryDirectory(prefix="preview-") as name:
        folder = Path(name)
        shutil.copytree(blocks, folder / "data")
        config = folder / "prometheus.yml"
        config.write_text("{}", "utf-8")
        url = f"http://{HOST}:{Ports.free().prometheus}"
        options = (f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}")
        kept = "--storage.tsdb.retention.time=100y"  # the day lies in the past
        program = Component(
            "prometheus",
            (str(ensure("prometheus")), *options, kept, f"--web.listen-address={url.removeprefix('http://')}"),
            ready=lambda: _is_ready(url),
        )
        try:
            process = components.start(program, folder)
        except components.ComponentError as error:
            raise PreviewError(str(error)) from error
        try:
            components.wait_ready(program, process, folder)
            with Prometheus(url) as asked:
                yield asked
        finally:
            components.stop(process, program.stop_signal, program.stop_seconds)
            process.wait()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", timeout=1, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _record(sources: Sources, day: History, folder: Path, report: Report) -> None:
    """Rules that read what other rules record come after those."""
    left = list(_rules(sources))
    while left:
        names = {rule.name for rule in left}
        ready = [rule for rule in left if not names & set(re.findall(r"[\w:]+", rule.expression))]
        if not ready:
            raise PreviewError(f"rules read each other in a circle: {', '.join(sorted(names))}")
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
            interval = duration(group.get("interval", f"{SCRAPE}s"))
            for rule in group["rules"]:
                if "record" in rule:
                    yield _Recorded(rule["record"], rule["expr"], rule.get("labels", {}), interval)


def _values(prometheus: Prometheus, rule: _Recorded, day: History, report: Report) -> Iterator[str]:
    report(f"what rules record: {rule.name}")
    times = range(day.start - day.warm_up, day.end + 1, rule.interval)
    for series in prometheus.over(rule.expression, times):
        labels = {key: value for key, value in series.labels.items() if key != "__name__"} | rule.labels
        for at, value in zip(times, series.values, strict=True):
            if not np.isnan(value):
                yield f"{rule.name}{_braces(labels)} {value} {at}\n"


def _alerts(outcome: backtest.Outcome) -> list[str]:
    return [
        f"ALERTS{_braces({'alertname': one.alert, 'alertstate': 'firing', **one.labels})} 1 {at}\n"
        for one in outcome.firings
        for at in range(one.start, (one.end or outcome.end) + 1, SCRAPE)
    ]


def _braces(labels: dict[str, str]) -> str:
    return "{" + ",".join(f"{key}={json.dumps(value)}" for key, value in labels.items()) + "}"


def _add(lines: Sequence[str], folder: Path) -> None:
    text = folder.parent / "recorded.txt"
    text.write_text("".join([*lines, "# EOF\n"]), "utf-8")
    command = [str(ensure("promtool")), "tsdb", "create-blocks-from", "--max-block-duration=7d", "--quiet"]
    run = subprocess.run([*command, "openmetrics", str(text), str(folder)], capture_output=True, text=True, check=False)
    if run.returncode:
        raise PreviewError(f"promtool made no blocks of what the rules record: {run.stderr.strip()}")
