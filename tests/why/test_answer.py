"""What `make why` looks at, and how it is read."""

from datetime import UTC, datetime

import pytest

from tools.base.errors import ToolError
from tools.base.files import Sources
from tools.cli import run
from tools.model.alerts import alerts, objectives
from tools.why import incident
from tools.why.answer import NOTHING, Answer, finders
from tools.why.compare import Window
from tools.why.finding import Finding, Row

NOON = datetime(2026, 3, 10, 15, tzinfo=UTC).timestamp()  # in São Paulo


def test_every_alert_has_something_that_explains_it() -> None:
    sources = Sources.of_disk()
    signals = {str(one.rule["labels"]["signal"]) for one in alerts(sources)}
    templated = "slo-{{ $labels.slo }}"
    assert templated in signals
    for signal in (signals - {templated}) | {f"slo-{name}" for name in objectives(sources)}:
        assert finders(signal, ())


def test_what_explains_anything_asks_all_that_explain_an_alert_but_for_what_patients_may_do() -> None:
    everything = {finder for finder in finders("", ()) if hasattr(finder, "__name__")}
    of_alerts = {
        finder
        for one in alerts(Sources.of_disk())
        if "{{" not in one.rule["labels"]["signal"]
        for finder in finders(one.rule["labels"]["signal"], ())
        if hasattr(finder, "__name__")
    }
    assert {finder.__name__ for finder in of_alerts - everything} == {"lanes", "silence"}


DURING = Window(NOON, NOON + 240)
FOUND = (
    Finding("P95 went up", (Row("P95", "38 ms", "5.1 s"),), ("0af7651916cd43dd8448eb211c80319c",)),
    Finding("Redis fails"),
)


def test_the_answer_is_markdown_with_the_cause_in_the_first_line() -> None:
    answer = Answer(Window(NOON - 900, NOON), DURING, FOUND, (Row("requests", "1/s", "1/s"),), ("the service",))
    assert answer.markdown("https://example.org/runbook").splitlines() == [
        "**P95 went up.**",
        "",
        "Started anew meanwhile: the service.",
        "",
        "- also: Redis fails",
        "",
        "| | before | during |",
        "|---|--:|--:|",
        "| P95 | 38 ms | 5.1 s |",
        "| requests | 1/s | 1/s |",
        "",
        "before: 2026-03-10 11:45:00 to 12:00:00 (-0300); during: 2026-03-10 12:00:00 to 12:04:00 (-0300)",
        "trace: `make trace ID=0af7651916cd43dd8448eb211c80319c`",
        "runbook: https://example.org/runbook",
    ]


def test_where_nothing_stands_out_it_says_so_and_what_began_anew() -> None:
    assert Answer(DURING, DURING, (), (), ()).first == NOTHING
    assert Answer(DURING, DURING, (), (), ("the Collector",)).first == f"{NOTHING}, but the Collector began anew"


@pytest.mark.parametrize(
    ("text", "minutes"),
    {"30m": 30, "2h": 120, "11:30": 30, "12:30": 23 * 60 + 30, "2026-03-10T11:59": 1, "2026-03-10T14:50Z": 10}.items(),
)
def test_a_time_is_read_as_people_write_it_on_the_clinics_clock(text: str, minutes: int) -> None:
    asked = incident.since(text, NOON)
    assert asked.during == Window(NOON - minutes * 60, NOON)


def test_the_time_before_is_as_long_but_at_least_a_quarter_of_an_hour_and_at_most_an_hour() -> None:
    for text, minutes in {"1m": 15, "30m": 30, "5h": 60}.items():
        asked = incident.since(text, NOON)
        assert asked.before == Window(asked.during.start - minutes * 60, asked.during.start)


@pytest.mark.parametrize("text", ["yesterday", "25:00", "2026-03-10T99:00", "2026-03-10T12:01"])
def test_what_is_no_time_or_still_to_come_is_refused(text: str) -> None:
    with pytest.raises(ToolError, match=r"is no time: 30m, 14:05 or 2026-|is still to come"):
        incident.since(text, NOON)


def test_an_alert_and_a_time_are_one_too_many(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["why", "TargetDown", "--since", "5m"]) == 2
    assert "an alert or a time, not both" in capsys.readouterr().err
