"""Spans of the instrumentations: webhook requests, also those that no handler saw, and database queries."""

from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.collector.bench import Bench, plain
from tools.base.otlp import ASYNCPG, FASTAPI, Spec, traces
from tools.model.expected import Seen, expected

WEBHOOK = "/webhooks/evolution"
ABSENT: Any = None


def server(method: str, route: str | None, code: Any, **handler: str) -> Spec:
    """A SERVER span as the FastAPI instrumentation makes it, with what the handler set."""
    attributes = {"http.request.method": method, "http.route": route, "http.response.status_code": code, **handler}
    present = {key: value for key, value in attributes.items() if value is not ABSENT}
    name = f"{method} {route}" if route else method
    return Spec(name, present, 12_000_000, FASTAPI, Span.SPAN_KIND_SERVER, failed=isinstance(code, int) and code >= 500)


def webhook(lane: str, status: str) -> Seen:
    """A webhook request as the metrics must see it."""
    return Seen("webhook.request", {"endpoint": WEBHOOK, "lane": lane, "status": status}, 12_000_000)


@pytest.mark.parametrize("route", [WEBHOOK, WEBHOOK + "/{event}"])
def test_failed_webhook_requests_are_in_histogram_and_counter_with_lane_none(bench: Bench, route: str) -> None:
    codes = {**dict.fromkeys([401, 403, 413, 422], "rejected"), **dict.fromkeys([500, 503, ABSENT], "error")}
    specs = [server("POST", route, code) for code in codes]
    assert bench.derive(traces(specs)) == expected(webhook("none", status) for status in codes.values())


def test_what_the_handler_says_stands(bench: Bench) -> None:
    said = [("faq", "success"), ("complex", "success"), ("none", "duplicate"), ("none", "ignored"), ("price", "error")]
    specs = [server("POST", WEBHOOK, 200, lane=lane, status=status) for lane, status in said]
    specs += [server("POST", WEBHOOK, 200), server("POST", WEBHOOK, 204, lane="scheduling")]
    specs += [server("POST", WEBHOOK, 503, lane="faq")]
    seen = [*said, ("none", "success"), ("scheduling", "success"), ("faq", "error")]
    assert bench.derive(traces(specs)) == expected(webhook(lane, status) for lane, status in seen)


def test_a_code_that_is_none_is_dropped_and_the_request_is_an_error(bench: Bench) -> None:
    codes = ["200", "Maria", b"200", True, 2.5, [200], {"code": 200}, 99, 600, 5511912345678, -1]
    specs = [server("POST", WEBHOOK, code) for code in codes]
    assert bench.derive(traces(specs)) == expected([webhook("none", "error")] * len(codes))
    for stored in bench.stored(*(spec.trace_id for spec in specs)):
        assert "http.response.status_code" not in plain(stored)


NO_WEBHOOKS = [
    server("POST", None, 404),
    server("POST", "/webhooks/other", 404),
    server("GET", WEBHOOK, 405),
    server("PUT", WEBHOOK, 405),
    server("OPTIONS", WEBHOOK, 405),
    server("POST", None, 307),
    server("GET", "/health", 200),
    server("GET", WEBHOOK, 200, lane="faq", status="success"),
    replace(server("POST", WEBHOOK, 200), kind=Span.SPAN_KIND_CLIENT),
    replace(server("POST", WEBHOOK, 200), attributes={"http.route": [WEBHOOK], "http.request.method": "POST"}),
]


def test_other_requests_are_no_webhooks(bench: Bench) -> None:
    assert bench.derive(traces(NO_WEBHOOKS)) == {}
    for stored in bench.stored(*(spec.trace_id for spec in NO_WEBHOOKS)):
        assert "family" not in plain(stored)


def test_a_stored_webhook_span_has_the_labels_of_its_series(bench: Bench) -> None:
    spec = server("POST", WEBHOOK, 422)
    bench.derive(traces([spec]))
    [stored] = bench.stored(spec.trace_id)
    assert stored.name == "POST /webhooks/evolution"
    added = {"family": "webhook.request", "endpoint": WEBHOOK, "lane": "none", "status": "rejected"}
    assert plain(stored) == {**spec.attributes, **added}


QUERIES = [  # the span's name, its operation, the name that is stored
    ("SELECT", "select", "SELECT"),
    ("select", "select", "select"),
    ("INSERT", "insert", "INSERT"),
    ("UPDATE", "update", "UPDATE"),
    ("DELETE", "delete", "DELETE"),
    ("WITH", "with", "WITH"),
    ("BEGIN;", "begin", "BEGIN;"),
    ("BEGIN", "begin", "BEGIN"),
    ("COMMIT;", "commit", "COMMIT;"),
    ("ROLLBACK;", "rollback", "ROLLBACK;"),
    ("SAVEPOINT", "savepoint", "SAVEPOINT"),
    ("RELEASE", "release", "RELEASE"),
    ("SET", "set", "SET"),
    ("CURSOR: select", "cursor", "cursor"),
    ("CURSOR: Maria", "cursor", "cursor"),
    ("cursor", "cursor", "cursor"),
    ("CREATE", "other", "other"),
    ("GET", "other", "GET"),
    ("select(1)", "other", "other"),
    ("--Maria", "other", "other"),
    ("", "other", "other"),
    ("S" * 100_000, "other", "other"),
]


def test_a_query_is_counted_by_its_operation(bench: Bench) -> None:
    good, failed, seen = [], [], []
    for name, operation, _ in QUERIES:
        said = {"db.system.name": "postgresql", "operation": "Maria", "status": "ignored"}
        good.append(Spec(name, said, 3_000_000, ASYNCPG, Span.SPAN_KIND_CLIENT))
        said = {**said, "error.type": "UniqueViolationError"}
        failed.append(Spec(name, said, 3_000_000, ASYNCPG, Span.SPAN_KIND_CLIENT, failed=True))
        outcomes = [{"operation": operation, "status": status} for status in ("success", "error")]
        seen += [Seen("db.query", outcome, 3_000_000) for outcome in outcomes]
    assert bench.derive(traces([*good, *failed])) == expected(seen)
    stored = bench.stored(*(spec.trace_id for spec in good))
    assert [span.name for span in stored] == [name for *_, name in QUERIES]
    for span, (_, operation, _) in zip(stored, QUERIES, strict=True):
        kept = {"db.system.name": "postgresql", "family": "db.query", "operation": operation, "status": "success"}
        assert plain(span) == kept
