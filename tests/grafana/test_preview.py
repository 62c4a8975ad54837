"""The preview shows what the dashboard's JSON says of what Prometheus answers."""

import datetime as dt
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.panels import panel
from tools.base.prometheus import Exemplar
from tools.model.dashboard import ROW, Dashboard, Panel, step, substitute
from tools.show.preview.colours import EXEMPLAR, colour
from tools.show.preview.content import Content, Drawn, Note, Window
from tools.show.preview.drawing import draw
from tools.show.preview.graph import calculated, thresholds
from tools.show.preview.picture import size
from tools.show.preview.units import formatted

START = 1_773_140_400  # 2026-03-10, 11:00 UTC
MINUTE = 60
WINDOW = Window(START, START + 60 * MINUTE, 15)
POINTS = len(WINDOW.times)
BLUE, ORANGE = colour("blue"), colour("orange")

Json = dict[str, Any]


@pytest.mark.parametrize(
    ("hours", "points", "seconds"),
    [(1 / 6, 720, 15), (1, 720, 15), (6, 720, 30), (24, 720, 120), (24, 360, 300), (168, 720, 900), (2160, 720, 3600)],
)
def test_points_are_as_far_apart_as_in_grafana(hours: float, points: int, seconds: int) -> None:
    assert step(round(hours * 3600), points) == seconds


def test_a_query_is_asked_with_the_values_of_its_variables() -> None:
    asked = 'rate(a{job=~"$job",lane=~"${lane}"}[$__rate_interval]) + increase(b[$__range]) + c[$__interval:] + $other'
    known = {"job": "backend", "lane": ".*"}
    assert substitute(asked, known, 3600, 15) == (
        'rate(a{job=~"backend",lane=~".*"}[60s]) + increase(b[3600s]) + c[15s:] + $other'
    )
    assert substitute("[$__rate_interval]", {}, 86400, 120) == "[135s]"


def test_all_of_a_variable_is_everything_and_several_are_alternatives() -> None:
    listed = [
        {"name": "lane", "allValue": ".*", "current": {"value": ["$__all"]}},
        {"name": "job", "current": {"value": "backend"}},
        {"name": "status", "current": {"value": ["error", "other"]}},
        {"name": "datasource", "current": {}},
    ]
    found = Dashboard("a", json.dumps({"templating": {"list": listed}})).chosen
    assert found == {"lane": ".*", "job": "backend", "status": "(error|other)", "datasource": ""}


@pytest.mark.parametrize(
    ("value", "unit", "decimals", "text"),
    [
        (0.0873, "s", None, "87.3 ms"),
        (0.00023, "s", None, "230 µs"),
        (2, "s", None, "2 s"),
        (90, "s", None, "1.5 min"),
        (0, "s", None, "0 s"),
        (0.8, "percentunit", None, "80%"),
        (0.68, "percentunit", 1, "68.0%"),
        (-0.25, "percentunit", None, "-25%"),
        (1.05, "reqps", None, "1.05 req/s"),
        (0.05618, "suffix:errors/s", 3, "0.056 errors/s"),
        (1200, "suffix:spans/s", None, "1200 spans/s"),
        (268435456, "bytes", None, "256 MiB"),
        (1234, "short", None, "1.23 K"),
        (41, None, None, "41"),
        (float("nan"), "s", None, "–"),
        (float("inf"), "s", None, "∞"),
    ],
)
def test_values_are_written_with_their_unit(value: float, unit: str | None, decimals: int | None, text: str) -> None:
    assert formatted(value, unit, decimals) == text


def drawn(values: float | list[float], panel: Panel, name: str = "one", shade: str = BLUE, **labels: str) -> Drawn:
    """A series of the panel."""
    many = values if isinstance(values, list) else [values] * POINTS
    return Drawn(name, labels, np.array(many), shade, panel.field(name))


def pixels(picture: Image.Image, shade: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Where the picture has this colour, but for what smooth edges change."""
    wanted = np.array([int(shade[start : start + 2], 16) for start in (1, 3, 5)])
    found: np.ndarray[Any, np.dtype[np.bool_]] = (abs(np.asarray(picture).astype(int) - wanted) < 70).all(axis=2)
    return found


def curve(picture: Image.Image, shade: str = BLUE) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """The same, without legend and title."""
    return pixels(picture.crop((0, 40, picture.width, picture.height - 40)), shade)


def test_a_collapsed_row_is_opened_and_what_is_below_moves_down() -> None:
    def placed(title: str, line: int, column: int = 0, **more: Any) -> Json:
        return {"title": title, "type": ROW, "gridPos": {"x": column, "y": line, "w": 12, "h": 1}} | more

    tall = {"x": 0, "y": 12, "w": 12, "h": 9}
    inside = [placed("right", 12, 12), placed("left", 12, gridPos=tall)]
    given = [placed("below", 7), placed("row", 6, panels=inside), placed("above", 0)]
    found = [(one.title, one.place[1]) for one in Dashboard("a", json.dumps({"panels": given})).opened]
    assert found == [("above", 0), ("row", 6), ("left", 7), ("right", 7), ("below", 16)]


def test_overrides_change_only_the_series_that_they_name() -> None:
    data = panel(defaults={"unit": "s", "custom": {"lineWidth": 2}}).data
    data["fieldConfig"]["overrides"] = [
        {"matcher": {"id": "byName", "options": "P99"}, "properties": [{"id": "unit", "value": "ops"}]},
        {
            "matcher": {"id": "byRegexp", "options": "/ queries$/"},
            "properties": [{"id": "custom.lineWidth", "value": 1}],
        },
    ]
    names = ("P95", "P99", "patient queries", "queries of")
    found = {name: Panel(data).field(name) for name in names}
    assert [found[name]["unit"] for name in names] == ["s", "ops", "s", "s"]
    assert [found[name]["custom.lineWidth"] for name in names] == [2, 2, 1, 2]


def test_a_logarithmic_axis_takes_a_series_of_nothing_but_zeros() -> None:
    shown = panel(defaults={"custom": {"scaleDistribution": {"type": "log", "log": 10}}})
    assert draw(shown, Content(WINDOW, [drawn(0.0, shown)]), dt.UTC).size == size(12, 9)


@pytest.mark.parametrize(("end", "seen"), [({"max": 30}, True), ({"custom.axisSoftMax": 30}, False)])
def test_a_logarithmic_axis_ends_at_its_hard_end_and_heeds_no_soft_one(end: Json, seen: bool) -> None:
    custom = {"scaleDistribution": {"type": "log", "log": 10}, "thresholdsStyle": {"mode": "dashed"}}
    steps = [{"color": "green", "value": None}, {"color": "orange", "value": 5}]
    soft = {key.removeprefix("custom."): value for key, value in end.items() if key.startswith("custom.")}
    hard = {key: value for key, value in end.items() if not key.startswith("custom.")}
    shown = panel(defaults={"thresholds": {"steps": steps}, "custom": custom | soft, **hard})
    assert pixels(draw(shown, Content(WINDOW, [drawn(0.01, shown)]), dt.UTC), ORANGE).any() == seen


def test_a_threshold_is_a_dashed_line_in_its_colour_at_its_value_and_only_where_it_is_asked_for() -> None:
    steps = [{"color": "green", "value": None}, {"color": "orange", "value": 0.5}]
    defaults: Json = {
        "min": 0,
        "max": 1,
        "thresholds": {"steps": steps},
        "custom": {"thresholdsStyle": {"mode": "dashed"}},
    }
    shown = panel(defaults=defaults)
    picture = draw(shown, Content(WINDOW, [drawn(0.1, shown)]), dt.UTC)
    line = pixels(picture, ORANGE)
    heights = np.flatnonzero(line.any(axis=1))
    assert heights.max() - heights.min() <= 2
    low, high = 36, size(12, 9)[1] - 24 - 17  # of the values' room: the legend and the clock are below
    assert abs(heights.mean() - (low + high) / 2) <= 3
    gaps = np.diff(np.flatnonzero(line.any(axis=0)))
    assert (gaps > 1).sum() > 20
    defaults["custom"]["thresholdsStyle"]["mode"] = "off"
    shown = panel(defaults=defaults)
    assert not pixels(draw(shown, Content(WINDOW, [drawn(0.1, shown)]), dt.UTC), ORANGE).any()


def test_where_a_series_has_no_value_its_line_has_a_gap() -> None:
    shown = panel()
    values = [1.0 if at < POINTS / 3 or at > POINTS * 2 / 3 else float("nan") for at in range(POINTS)]
    columns = np.flatnonzero(curve(draw(shown, Content(WINDOW, [drawn(values, shown)]), dt.UTC)).any(axis=0))
    assert 200 < np.diff(columns).max() < 300


def test_a_value_without_neighbours_is_a_dot() -> None:
    shown = panel()
    values = [float("nan")] * POINTS
    values[POINTS // 2] = 1.0
    assert curve(draw(shown, Content(WINDOW, [drawn(values, shown)]), dt.UTC)).any()


def test_stacked_series_lie_on_each_other() -> None:
    stacking = {"stacking": {"mode": "normal", "group": "A"}}
    shown = panel(defaults={"min": 0, "max": 1, "custom": stacking})
    series = [drawn(0.25, shown), drawn(0.5, shown, shade=ORANGE)]
    picture = draw(shown, Content(WINDOW, series), dt.UTC)
    lower, upper = (np.flatnonzero(curve(picture, shade).any(axis=1)).mean() for shade in (BLUE, ORANGE))
    height = size(12, 9)[1] - 36 - 24 - 17
    assert lower - upper == pytest.approx(height / 2, abs=3)


def test_a_series_of_the_right_axis_has_a_scale_of_its_own() -> None:
    data = panel(defaults={"min": 0, "max": 1, "unit": "s"}).data
    properties = [{"id": "custom.axisPlacement", "value": "right"}, {"id": "max", "value": 100}]
    data["fieldConfig"]["overrides"] = [{"matcher": {"id": "byName", "options": "queries"}, "properties": properties}]
    shown = Panel(data)
    series = [drawn(0.25, shown), drawn(75.0, shown, name="queries", shade=ORANGE)]
    picture = draw(shown, Content(WINDOW, series), dt.UTC)
    lower, upper = (np.flatnonzero(curve(picture, shade).any(axis=1)).mean() for shade in (BLUE, ORANGE))
    assert lower - upper == pytest.approx((size(12, 9)[1] - 36 - 24 - 17) / 2, abs=3)


def test_a_dashed_series_has_gaps_that_a_plain_one_has_not() -> None:
    gaps = []
    for style in ({"fill": "solid"}, {"fill": "dash", "dash": [10, 10]}):
        shown = panel(defaults={"custom": {"lineStyle": style, "lineWidth": 2}})
        columns = curve(draw(shown, Content(WINDOW, [drawn(1.0, shown)]), dt.UTC)).any(axis=0)
        gaps.append(int((np.diff(np.flatnonzero(columns)) > 2).sum()))
    assert gaps[0] == 0
    assert gaps[1] > 20


def test_the_first_threshold_which_has_no_value_is_no_line() -> None:
    steps = [{"color": "green", "value": None}, {"color": "orange", "value": 0.5}]
    shown = panel(defaults={"thresholds": {"steps": steps}, "custom": {"thresholdsStyle": {"mode": "dashed"}}})
    assert thresholds(drawn(1.0, shown)) == {(0.5, ORANGE)}


def test_the_legend_calculates_over_what_is_there() -> None:
    nothing = float("nan")
    shown = panel(defaults={"unit": "s"})
    one = drawn([nothing, 1.0, 4.0, 2.0, nothing], shown)
    found = {calc: calculated(one, calc) for calc in ("lastNotNull", "max", "min", "mean")}
    assert found == {"lastNotNull": "2 s", "max": "4 s", "min": "1 s", "mean": "2.33 s"}
    assert calculated(drawn([nothing], shown), "max") == "–"


def test_a_mapped_value_shows_its_word() -> None:
    words = {"0": {"text": "down"}, "1": {"text": "up"}}
    steps = {"steps": [{"color": "green", "value": None}]}
    mapped = panel("stat", {"mappings": [{"type": "value", "options": words}], "thresholds": steps})
    plain = panel("stat", {"thresholds": steps})
    pictures = [
        draw(shown, Content(WINDOW, [drawn([value], shown)]), dt.UTC).tobytes()
        for shown, value in ((mapped, 1.0), (mapped, 0.0), (plain, 1.0), (mapped, 2.0), (plain, 2.0))
    ]
    assert len(set(pictures[:3])) == 3
    assert pictures[3] == pictures[4]


def test_an_exemplar_is_a_diamond_and_what_was_annotated_is_shaded() -> None:
    shown = panel()
    content = Content(WINDOW, [drawn(1.0, shown)])
    assert not pixels(draw(shown, content, dt.UTC), EXEMPLAR).any()
    content.exemplars = [Exemplar({}, START + 30 * MINUTE, 1.0, "0af7651916cd43dd8448eb211c80319c")]
    found = pixels(draw(shown, content, dt.UTC), EXEMPLAR)
    assert 10 < found.sum() < 60
    before = np.asarray(draw(shown, content, dt.UTC)).astype(int)
    content.notes = [Note("HighErrorRate", colour("red"), START + 10 * MINUTE, START + 20 * MINUTE)]
    changed = np.flatnonzero((abs(np.asarray(draw(shown, content, dt.UTC)).astype(int) - before) > 5).any(axis=(0, 2)))
    assert changed.max() - changed.min() == pytest.approx(size(12, 9)[0] / 6, abs=15)


@pytest.mark.parametrize(("value", "shade"), [(0.2, "red"), (0.5, "orange"), (0.94, "orange"), (0.95, "green")])
def test_a_stat_has_the_colour_of_the_threshold_that_it_reaches(value: float, shade: str) -> None:
    steps = [{"color": "red", "value": None}, {"color": "orange", "value": 0.5}, {"color": "green", "value": 0.95}]
    shown = panel("stat", {"unit": "percentunit", "thresholds": {"steps": steps}})
    picture = draw(shown, Content(WINDOW, [drawn([value], shown)]), dt.UTC)
    assert pixels(picture, colour(shade)).mean() > 0.7


def test_a_panel_without_values_says_so_in_the_dashboards_words() -> None:
    words, others = (
        draw(panel(kind, {"noValue": "no requests"}), Content(WINDOW), dt.UTC).tobytes()
        for kind in ("stat", "timeseries")
    )
    plain = draw(panel("timeseries"), Content(WINDOW), dt.UTC).tobytes()
    assert len({words, others, plain}) == 3


def test_the_heatmap_shows_each_bucket_without_those_below_it() -> None:
    shown = panel("heatmap", options={"filterValues": {"le": 1e-9}, "yAxis": {"unit": "s"}})
    cumulative = {"0.1": 4.0, "0.2": 4.0, "0.5": 10.0, "+Inf": 10.0}
    series = [drawn(value, shown, name=le, le=le) for le, value in cumulative.items()]
    picture = np.asarray(draw(shown, Content(WINDOW, series), dt.UTC))
    low, high = 36, size(12, 9)[1] - 24
    row = (high - low) / 4  # 0.1, 0.2, 0.5, and one above
    colours = [tuple(picture[round(high - row * (number + 0.5)), 300].tolist()) for number in range(4)]
    assert colours[1] == colours[3]  # the panel's
    assert len(set(colours)) == 3
