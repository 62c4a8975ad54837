"""Two Prometheus answer as one through Thanos Query, and a bucket outlives both."""

import json
import time
from pathlib import Path

import pytest

from tests.collector.test_fleet import BATCH, COUNTS, Sender
from tests.prometheus.monitored import increments
from tests.scale.thanos import Query
from tests.support.fleet import Fleet
from tools.base.wait import until
from tools.model.rules import shipped_rules


@pytest.fixture(scope="module")
def sender(query: Query) -> Sender:
    """One for all tests: what it sent is what must be counted."""
    return Sender(query)


@pytest.fixture
def quiet(query: Query, sender: Sender) -> None:
    """Both Prometheus have all that was sent so far, and nobody sends."""
    for _ in range(30):
        sender.batch()
    for one in (*query.pair.each, query):
        until(lambda asked=one: totals(asked) == [sender.taken.total()] * len(COUNTS), "all is counted", every=0.2)  # type: ignore[misc]


def totals(asked: Fleet) -> list[float]:
    """All that was counted, by the counter and by the histogram, as Prometheus had it from the first sample on."""
    return [sum(increments(values) for values in asked.history(count).values()) for count in COUNTS]


def by_lane(asked: Fleet, **parameters: str) -> dict[str, float]:
    """The value of each lane's counter, summed over Collectors."""
    rows = asked.api("query", query="sum by (lane) (lane_classification_total)", **parameters)["result"]
    return {row["metric"]["lane"]: float(row["value"][1]) for row in rows}


@pytest.mark.usefixtures("quiet")
def test_through_query_every_value_is_what_each_prometheus_has_alone(query: Query, sender: Sender) -> None:
    first, second = query.pair.each
    assert by_lane(query) == by_lane(first) == by_lane(second) == {"faq": sender.taken.total()}
    assert by_lane(query, dedup="false") == {"faq": 2 * sender.taken.total()}
    assert query.history(COUNTS[0]).keys() == first.history(COUNTS[0]).keys()


def test_all_rules_are_evaluated_in_both_and_shown_once(query: Query) -> None:
    def shown() -> list[str]:
        rules = [rule for group in query.api("rules")["groups"] for rule in group["rules"]]
        assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
        return sorted(rule["name"] for rule in rules if rule["health"] == "ok")

    groups = [group for document in shipped_rules().values() for group in document["groups"]]
    names = sorted(str(rule.get("alert") or rule["record"]) for group in groups for rule in group["rules"])
    until(lambda: shown() == names, "all rules are healthy", every=0.5)


def exemplars(asked: Fleet) -> list[str]:
    """The trace ids of a histogram's exemplars."""
    name = "classification_duration_seconds_bucket"
    found = asked.api("query_exemplars", query=name, start="0", end=f"{time.time() + 60:.0f}")
    return [one["labels"]["trace_id"] for series in found for one in series["exemplars"]]


@pytest.mark.usefixtures("quiet")
def test_exemplars_come_through_query_once_and_lead_to_traces(query: Query) -> None:
    alone = {trace for asked in query.pair.each for trace in exemplars(asked)}
    shown = exemplars(query)
    assert shown
    assert sorted(shown) == sorted(alone)
    assert all(query.store.spans(bytes.fromhex(trace)) for trace in shown)


def test_either_prometheus_is_killed_under_load_and_query_misses_no_count(query: Query, sender: Sender) -> None:
    with sender.sending():
        for member, alone, other in zip(query.pair.members, query.pair.each, reversed(query.pair.each), strict=False):
            goes_on(other, sender)
            member.kill("prometheus")
            goes_on(other, sender, 500 * BATCH)
            member.start("prometheus")
            alone.all_are_scraped()
            goes_on(alone, sender)
    until(lambda: totals(query) == [sender.taken.total()] * len(COUNTS), "all is counted", every=0.2)


def goes_on(asked: Fleet, sender: Sender, more: int = 20 * BATCH) -> None:
    """Wait until it has counted so many more."""
    seen = sender.taken.total()
    until(lambda: sum(by_lane(asked).values()) >= seen + more, "it counts on", every=0.2)


def kept(bucket: Path) -> dict[str, float]:
    """Until when the bucket has blocks of each replica, Unix seconds."""
    ends: dict[str, float] = {}
    for meta in bucket.glob("*/meta.json"):
        block = json.loads(meta.read_text("utf-8"))
        replica = block["thanos"]["labels"]["replica"]
        ends[replica] = max(ends.get(replica, 0), block["maxTime"] / 1000)
    return ends


@pytest.mark.usefixtures("quiet")
def test_both_prometheus_are_killed_and_the_bucket_answers_the_same_numbers(query: Query, sender: Sender) -> None:
    at = time.time()
    wanted = by_lane(query, time=f"{at:.3f}")
    assert wanted == by_lane(query.pair.each[0], time=f"{at:.3f}")
    everything = totals(query)
    until(lambda: [end > at for end in kept(query.bucket).values()] == [True, True], "it is kept", 600, every=1)
    for number, member in enumerate(query.pair.members[:2]):
        member.kill("prometheus")
        query.processes[("thanos-sidecar", "thanos-sidecar-2")[number]].kill()
    until(lambda: by_lane(query, time=f"{at:.3f}") == wanted, "the Store has it", every=0.5)
    assert totals(query) == everything == [sender.taken.total()] * len(COUNTS)
