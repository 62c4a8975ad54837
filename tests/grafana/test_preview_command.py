"""The preview asks a real Prometheus, and draws every panel of every dashboard."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.panels import panel
from tools.base.errors import ToolError
from tools.base.files import Sources
from tools.base.prometheus import Prometheus, PrometheusError
from tools.cli import run
from tools.commands import preview as command
from tools.history import recorded
from tools.model.dashboard import ROW, Panel, load, shipped_dashboards
from tools.model.dashboard import seconds as parsed
from tools.show.preview.colours import colour
from tools.show.preview.content import ask, notes
from tools.show.preview.picture import size
from tools.stack.history_server import create

START = 1_773_140_400  # 2026-03-10, 11:00 UTC
MINUTE = 60
ORANGE = colour("orange")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """An hour of one webhook's series, and an alert."""
    folder = tmp_path_factory.mktemp("history")
    text = folder / "history.txt"
    labels = '{job="healthcare-backend",endpoint="/webhooks/evolution",lane="faq",status="success"'
    with text.open("w") as file:
        for at in range(START - 600, START + 3601, 15):
            count = (at - START + 600) // 15 * 3
            file.write(f"webhook_requests_total{labels}}} {count} {at}\n")
            for edge in ("0.05", "0.1", "+Inf"):
                file.write(f'webhook_request_duration_seconds_bucket{labels},le="{edge}"}} {count} {at}\n')
            if START + 1200 <= at <= START + 1800 or at >= START + 3000:
                for alert, severity in (("HighErrorRate", "critical"), ("Watchdog", "none")):
                    file.write(f'ALERTS{{alertname="{alert}",alertstate="firing",severity="{severity}"}} 1 {at}\n')
        file.write("# EOF\n")
    create(text, folder / "blocks", "an hour")
    with recorded.serving(folder / "blocks") as asked:
        yield asked


def test_a_panel_asks_what_its_queries_say(prometheus: Prometheus) -> None:
    expression = "sum by (lane) (rate(webhook_requests_total[$__rate_interval]))"
    targets = [
        {"expr": expression, "legendFormat": "the {{lane}} lane"},
        {"expr": "vector(1)", "legendFormat": "hidden", "hide": True},
        {"expr": "vector(1)", "legendFormat": "second"},
        {"expr": "vector(1)", "legendFormat": "fixed"},
    ]
    data = panel(targets=targets).data
    fixed = {"id": "color", "value": {"mode": "fixed", "fixedColor": "orange"}}
    data["fieldConfig"]["overrides"] = [{"matcher": {"id": "byName", "options": "fixed"}, "properties": [fixed]}]
    found = ask(Panel(data), shipped_dashboards()[0], prometheus, START, START + 3600)
    assert [one.name for one in found.series] == ["the faq lane", "second", "fixed"]
    assert found.series[0].values == pytest.approx([0.2] * len(found.window.times))
    assert [one.colour for one in found.series] == [colour("green"), colour("semi-dark-yellow"), ORANGE]


def test_the_alert_list_shows_what_fires_then_and_has_the_labels(prometheus: Prometheus) -> None:
    states = {"stateFilter": {"firing": True, "pending": False}}
    every = panel("alertlist", options=states)
    some = panel("alertlist", options=states | {"alertInstanceLabelFilter": '{severity=~"critical|warning"}'})
    names = [
        sorted(one.name for one in ask(which, shipped_dashboards()[0], prometheus, START, at).series)
        for which, at in ((every, START + 1500), (some, START + 1500), (every, START + 2700))
    ]
    assert names == [["HighErrorRate", "Watchdog"], ["HighErrorRate"], []]


def test_every_panel_of_every_dashboard_becomes_a_picture_of_its_size(prometheus: Prometheus, tmp_path: Path) -> None:
    source = command.Source("a test", prometheus, START, START + 3600, dt.UTC)
    told: list[str] = []
    made = command.preview(shipped_dashboards(), source, START, START + 3600, tmp_path, told.append)
    panels = [(one, shown) for one in shipped_dashboards() for shown in one.opened if shown.type != ROW]
    assert told == [f"{one.title}: {shown.title}" for one, shown in panels]
    sizes = {}
    for path in tmp_path.glob("*/*.png"):
        with Image.open(path) as picture:
            sizes[path.relative_to(tmp_path).as_posix()] = picture.size
    assert sizes == {f"{one.uid}/{shown.data['id']}.png": size(*shown.place[2:]) for one, shown in panels}
    wanted = sorted(f"{one.uid}.png" for one in shipped_dashboards())
    assert sorted(path.name for path in tmp_path.glob("*.png")) == wanted
    assert made == tmp_path / "index.html"
    with Image.open(tmp_path / "healthcare-backend" / "4.png") as picture:  # an alert fired for the last ten minutes
        red = np.asarray(picture.convert("RGB")).astype(int)[60]
    assert (red[:, 0] > red[:, 2]).sum() > 60


def test_what_a_dashboard_annotates_is_from_its_first_to_its_last_point(prometheus: Prometheus) -> None:
    found = notes(shipped_dashboards()[0], prometheus, START, START + 3600)
    assert {(one.title, one.colour) for one in found if "critical" in one.title} == {
        ("Alerts fire: critical", colour("red"))
    }
    first, second = [(one.start - START, one.end - START) for one in found if "critical" in one.title]
    assert first[0] == 1200
    assert 1800 <= first[1] <= 1800 + 5 * MINUTE  # for so long Prometheus takes the last value
    assert [*second] == [3000, 3600]
    assert "Watchdog" not in {one.title for one in found}


def test_the_played_day_has_what_rules_record_and_the_alerts_of_its_incidents() -> None:
    day, blocks = recorded.blocks(Sources.of_disk())
    redis_away = day.start + 14 * 3600 + 22 * MINUTE
    with recorded.serving(blocks) as prometheus:
        [hits] = prometheus.query("job:cache_hits:ratio_rate10m", redis_away)
        [before] = prometheus.query("job:cache_hits:ratio_rate10m", redis_away - 3600)
        budgets = prometheus.query("slo:period_error_budget_remaining:ratio", day.end)
        firing = prometheus.query('ALERTS{alertname="CriticalErrorRate"}', redis_away)
        quiet = prometheus.query('ALERTS{alertname="CriticalErrorRate"}', redis_away - 3600)
    assert (hits.value < 0.05, before.value > 0.9) == (True, True)
    assert {one.labels["slo"] for one in budgets} == {"webhook-latency", "webhook-success"}
    assert [one.labels["alertstate"] for one in firing] == ["firing"]
    assert quiet == []


def test_times_are_the_clock_of_the_source_or_a_time_back_from_the_end() -> None:
    zone = dt.timezone(dt.timedelta(hours=-3))
    day = START - 8 * 3600  # 00:00 of the clock
    source = command.Source("a test", Prometheus("http://127.0.0.1:1"), day, day + 86400, zone)
    assert command.times(source, "", "", 86400) == (day, day + 86400)
    assert command.times(source, "06:00", "16:20", 86400) == (day + 6 * 3600, day + 16 * 3600 + 20 * MINUTE)
    assert command.times(source, "30m", "08:00", 86400) == (START - 1800, START)
    young = command.Source("a test", source.prometheus, START - 600, START, zone)
    assert command.times(young, "", "", 6 * 3600) == (START - 600, START)
    with pytest.raises(ToolError, match="16:20 is not before 16:00"):
        command.times(source, "16:20", "16:00", 86400)
    with pytest.raises(ToolError, match="soon is no duration"):
        command.times(source, "soon", "", 86400)
    with pytest.raises(ToolError, match="24:00 is no time of day"):
        command.times(source, "", "24:00", 86400)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["http://127.0.0.1:1"], "Prometheus at http://127.0.0.1:1 does not answer (ConnectError): `make status`"),
        (["yesterday"], "yesterday is no source"),
        (["day", "--dashboard", "mine"], "no dashboard has the uid mine"),
    ],
)
def test_what_cannot_be_drawn_is_told_in_a_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["preview", *arguments, "--folder", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"clinic: {words}")
    assert told.count("\n") == 1


def test_a_query_that_prometheus_refuses_is_named(prometheus: Prometheus) -> None:
    with pytest.raises(PrometheusError, match=r"Prometheus refuses rate\(up\): .*expected type range vector"):
        ask(panel(targets=[{"expr": "rate(up)"}]), shipped_dashboards()[0], prometheus, START, START + 3600)


def test_files_that_are_no_dashboard_are_refused(tmp_path: Path) -> None:
    broken, other = tmp_path / "broken.json", tmp_path / "other.json"
    broken.write_text("{", "utf-8")
    other.write_text('{"elements": {}}', "utf-8")
    with pytest.raises(ToolError, match=r"broken\.json cannot be read as JSON"):
        load(broken)
    with pytest.raises(ToolError, match=r"other\.json is no dashboard in the classic format"):
        load(other)


def test_durations_have_a_unit() -> None:
    assert [parsed(text) for text in ("90s", "30m", "6h", "1d")] == [90, 1800, 21600, 86400]
