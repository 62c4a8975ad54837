"""Where the added time of slow requests is spent."""

from tools.base.files import Sources
from tools.model.contract import load
from tools.show.trace import Span
from tools.why.compare import Change
from tools.why.slow import ITSELF, STEPS, _named, spent
from tools.why.slow import REQUEST as REQUEST_STEP

POSTGRESQL, REDIS = {"db.system.name": "postgresql"}, {"db.system.name": "redis"}


def span(name: str, parent: str, start: int, end: int, kind: str = "INTERNAL", **attributes: str) -> Span:
    """In seconds; its name is its id."""
    return Span(name, parent, name, kind, start * 10**9, end * 10**9, False, attributes, ())


REQUEST = [
    span("POST", "", 0, 10, "SERVER"),
    span("message.process", "POST", 1, 10),
    span("GET", "message.process", 1, 2, "CLIENT", **REDIS),
    span("db.acquire", "message.process", 2, 5),
    span("insert", "message.process", 4, 8, "CLIENT", **POSTGRESQL),
    span("reply.send", "message.process", 20, 30, "CLIENT"),
]


def test_each_span_has_the_time_that_none_of_its_children_has() -> None:
    assert spent(REQUEST) == {
        (ITSELF, "POST"): 1.0,
        (ITSELF, "message.process"): 2.0,
        ("Redis", "GET"): 1.0,
        ("PostgreSQL", "db.acquire"): 3.0,
        ("PostgreSQL", "insert"): 4.0,
    }


def test_below_a_step_only_its_own_spans_count() -> None:
    assert spent(REQUEST, "db.acquire") == {("PostgreSQL", "db.acquire"): 3.0}
    assert spent(REQUEST, "context.hydrate") == {}


def test_the_limit_of_a_step_is_one_that_the_contract_has() -> None:
    metrics = load(Sources.of_disk()).by_name
    for step in (REQUEST_STEP, *STEPS.values()):
        assert step.limit in metrics[step.metric].limits


def said(**seconds: tuple[float, float]) -> str:
    """Of spans of PostgreSQL, before and during; one with a dot is the service's."""
    kinds = {
        ("PostgreSQL" if name != "lane.classify" else ITSELF, name): Change(*both) for name, both in seconds.items()
    }
    sentence, _ = _named(kinds, "a trace")
    return sentence


def test_statements_that_are_slow_are_the_cause_and_waiting_for_a_connection_follows_from_them() -> None:
    assert said(insert=(0.1, 3.1), **{"db.acquire": (0.0, 1.0)}) == (
        "100% of the added time is in PostgreSQL (`insert`, `db.acquire`)"
    )


def test_waiting_for_a_connection_alone_means_that_there_are_too_few() -> None:
    assert said(insert=(0.1, 0.1), **{"db.acquire": (0.0, 2.0)}) == (
        "100% of the added time is in PostgreSQL (`db.acquire`), waiting for a connection while statements are quick:"
        " too few of them (`DATABASE_POOL_SIZE`)"
    )


def test_what_takes_less_than_a_tenth_of_the_added_time_is_not_named() -> None:
    assert said(insert=(0.0, 9.2), select=(0.0, 0.8)) == "92% of the added time is in PostgreSQL (`insert`)"


def test_who_is_waited_for_comes_before_the_spans() -> None:
    assert said(insert=(0.0, 6.0), **{"lane.classify": (0.0, 4.0)}) == (
        f"100% of the added time is in PostgreSQL (`insert`) and in {ITSELF} (`lane.classify`)"
    )
