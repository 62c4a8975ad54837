"""A small history made by hand, rules and routes over it, and what comes out as people would write it down."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tools.base.files import Sources
from tools.history.backtest import ALERTMANAGER, PROMETHEUS, Evaluation, run
from tools.history.choice import History
from tools.stack.history_server import create

START = 1_773_140_400  # 2026-03-10, 11:00 UTC: Tuesday, 08:00 in São Paulo
STEP = 15
MINUTE, HOUR = 60, 3600
RULES = "prometheus/rules/example.yaml"

Values = Callable[[int], float | None]
"""A series' value so many seconds after the start; None where it has none."""


def between(first: float, last: float, inside: float = 1, outside: float | None = 0) -> Values:
    """One value from a minute on until another, and a different one before and after."""
    return lambda seconds: inside if first * MINUTE <= seconds < last * MINUTE else outside


def make(folder: Path, series: Mapping[str, Values], start: int = START, hours: float = 3) -> Path:
    """Blocks with these series."""
    text = folder / "history.txt"
    with text.open("w") as file:
        for name, values in series.items():
            for seconds in range(0, round(hours * HOUR) + 1, STEP):
                if (value := values(seconds)) is not None:
                    file.write(f"{name} {value} {start + seconds}\n")
        file.write("# EOF\n")
    create(text, folder / "blocks", "a history made by hand")
    return folder / "blocks"


def past(blocks: Path, hours: float = 3) -> History:
    """The blocks as a history, all of it reported."""
    return History("a history made by hand", {"blocks": str(blocks)}, START, START + round(hours * HOUR), 0)


def version(rules: str, routes: str = "") -> Sources:
    """Files with nothing but these."""
    texts = {PROMETHEUS: "global: {evaluation_interval: 15s, external_labels: {notify: '${NOTIFY}'}}", RULES: rules}
    if routes:
        texts[ALERTMANAGER] = routes
    return Sources("your edit", tuple(sorted(texts)), texts.__getitem__)


def outcome(history: History, rules: str, routes: str = "", stepping: bool = False) -> Evaluation:
    """What rules and routes do over a history."""
    [found] = run([version(rules, routes)], history, stepping=stepping)
    return found


def fired(found: Evaluation) -> list[tuple[str, float, float | None]]:
    """Alert, and the minutes from which and until which it fired."""
    return [(one.alert, minutes(one.start), one.end and minutes(one.end)) for one in found.firings]


def minutes(seconds: int) -> float:
    """Since the start."""
    return (seconds - START) / MINUTE


def told(found: Evaluation) -> list[tuple[float, str, list[str], bool]]:
    """Minute, receiver, alerts, and whether it repeats, of each notification."""
    return [(minutes(one.time), one.receiver, one.alerts, one.repeat) for one in found.notifications]


@pytest.fixture(scope="session")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hours: what rises and falls, vanishes, is reset, and two processes."""
    return make(
        tmp_path_factory.mktemp("history"),
        {
            'fault{job="a"}': between(10, 30),
            'fault{job="b"}': between(20, 21),
            'worse{job="a"}': between(15, 25),
            'flicker{job="a"}': lambda seconds: float(seconds % 600 < 120),
            'there{job="a"}': between(40, 60, inside=1, outside=None),
            'events_total{job="a",instance="1"}': lambda seconds: seconds % 5000,
            'events_total{job="a",instance="2"}': lambda seconds: seconds * 2,
            'blip{job="a"}': between(100, 100.5),
        },
    )


@pytest.fixture
def history(blocks: Path) -> History:
    """All of it."""
    return past(blocks)
