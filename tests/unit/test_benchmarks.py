"""Benchmarks compare within a round, and their page says what was measured and no more."""

import random
from collections import Counter

from simulator.load import Report
from tools.bench.collectors import Growth
from tools.bench.measured import Measured
from tools.bench.messages import Messages
from tools.bench.page import lines, page, picture
from tools.bench.processes import Usage
from tools.bench.rounds import Spread, in_turns, ratio

SLOW_SECOND_ROUND = {"ours": [2.0, 20.0, 2.2], "none": [1.0, 10.0, 1.0]}


def test_a_round_in_which_everything_was_slow_moves_no_ratio() -> None:
    assert ratio(SLOW_SECOND_ROUND, "ours", "none") == Spread(2.0, 2.0, 2.1)
    assert ratio(SLOW_SECOND_ROUND, "ours", "none").text() == "2.00 (2.00 to 2.10)"


def test_each_has_one_turn_a_round_and_none_is_always_first() -> None:
    turns: list[str] = []

    def turn(name: str) -> float:
        turns.append(name)
        return float(len(turns))

    figures = in_turns(("a", "b", "c"), 8, turn)
    rounds = [turns[start : start + 3] for start in range(0, 24, 3)]
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len({one[0] for one in rounds}) > 1
    assert [len(of) for of in figures.values()] == [8, 8, 8]


def measured() -> Measured:
    numbers = random.Random(1)
    names = ("none", "ours")
    of = {name: [float(index + 1)] * 2 for index, name in enumerate(names)}
    usage = {"service": Usage(0.5, 80.0)}
    report = Report(answered=Counter({("faq", "success"): 1500}))
    report.latencies.extend(numbers.random() for _ in range(10))
    return Measured(
        2,
        "2 cores",
        0.1,
        spans=of,
        messages=Messages({name: [x / 1000 for x in each] for name, each in of.items()}, of, of),
        calls={"none": 1500.4, "ours": 2300.0},
        collector={"256 a request": {"bare": [5.0, 5.0], "shipped": [10.0, 10.0]}},
        growth=[Growth(1, 1, 3000, 510, 33.2, 9.5)],
        visible=[4.0, 6.0],
        idle=usage,
        loaded=(usage, report),
    )


def test_the_page_has_every_figure_in_its_table() -> None:
    text = page(measured())
    for line in (
        "| ours | 2.0 (2.0 to 2.0) | 1.00 (1.00 to 1.00) |",
        "| ours | 2.00 (2.00 to 2.00) | 2.00 (2.00 to 2.00) | 2000.0 | 2000.0 | 2300 |",
        "| 256 a request | 5.0 (5.0 to 5.0) | 10.0 (10.0 to 10.0) | 2.00 (2.00 to 2.00) |",
        "| 1 × | 1 | 3000 | 510 | 33 | 9.5 |",
        "| service | 50.0% | 80 | 50.0% | 80 | 10.00 |",
    ):
        assert line in text.splitlines()
    assert "median 5.0 s, longest 6.0 s" in text


def test_what_was_not_measured_is_not_on_the_page() -> None:
    assert list(lines(Measured(2, "2 cores", 0.1))) == []


def test_the_picture_has_a_bar_for_each_and_ours_in_another_colour() -> None:
    drawn = picture(measured())
    assert drawn.count("<rect") == 1 + 4
    assert drawn.count("#3274d9") == 2
