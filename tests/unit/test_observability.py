"""The documented Python API: what each call sends."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

import app.observability as observability
from app.observability import add_span_event, init_tracing, trace_span
from app.observability.contract import contract
from app.observability.telemetry import Telemetry
from app.observability.tracing import error_type
from tools.base.otlp_sink import Sink

Sent = Callable[[], list[Span]]


@pytest.fixture
def sent(telemetry: Telemetry, sink: Sink) -> Sent:
    """The spans that left since the last call, in the order in which they ended."""
    telemetry.flush()
    seen = len(sink.spans())

    def fetch() -> list[Span]:
        nonlocal seen
        assert telemetry.flush()
        new = sink.spans()[seen:]
        seen += len(new)
        return new

    return fetch


def attributes(span: Span) -> dict[str, Any]:
    return {item.key: getattr(item.value, str(item.value.WhichOneof("value"))) for item in span.attributes}


@pytest.mark.parametrize(
    ("call", "arguments", "name", "expected"),
    [
        (
            "observe_request_latency",
            {"endpoint": "/webhooks/evolution", "lane": "faq", "status": "success", "duration_seconds": 0.245},
            "webhook.request",
            {"endpoint": "/webhooks/evolution", "lane": "faq", "status": "success"},
        ),
        ("observe_cache_hit", {"cache_type": "bundle"}, "cache.lookup", {"cache_type": "bundle", "result": "hit"}),
        ("observe_cache_miss", {"cache_type": "bundle"}, "cache.lookup", {"cache_type": "bundle", "result": "miss"}),
        (
            "observe_cache_operation",
            {"operation": "set", "cache_type": "catalog", "duration_seconds": 0.002},
            "cache.set",
            {"operation": "set", "cache_type": "catalog"},
        ),
        ("observe_hydration", {"duration_seconds": 0.05}, "context.hydrate", {}),
        ("observe_hydration_query", {"query_type": "memories"}, "hydration.query", {"query_type": "memories"}),
        (
            "observe_lane_classification",
            {"lane": "scheduling", "duration_seconds": 0.001},
            "lane.classify",
            {"lane": "scheduling"},
        ),
        (
            "observe_database_query",
            {"operation": "select", "status": "error", "duration_seconds": 1},
            "db.query",
            {"operation": "select", "status": "error"},
        ),
        (
            "observe_idempotency_check",
            {"result": "duplicate", "duration_seconds": 0.0005},
            "idempotency.check",
            {"result": "duplicate"},
        ),
        ("observe_mem0_write", {"status": "dead", "duration_seconds": 2}, "mem0.write", {"status": "dead"}),
        ("observe_reply_send", {"status": "success", "duration_seconds": 0.2}, "reply.send", {"status": "success"}),
        ("observe_reply_send", {"status": "dead", "duration_seconds": 2}, "reply.send", {"status": "dead"}),
        ("observe_delivery_kept", {"status": "ignored"}, "delivery.keep", {"status": "ignored"}),
        (
            "observe_error",
            {"error_type": "timeout", "component": "cache"},
            "error.handled",
            {"error.type": "timeout", "component": "cache"},
        ),
    ],
)
def test_each_observe_call_sends_one_span_with_its_labels_and_its_duration(
    sent: Sent, call: str, arguments: dict[str, Any], name: str, expected: dict[str, str]
) -> None:
    getattr(observability, call)(**arguments)
    (span,) = sent()
    assert (span.name, attributes(span)) == (name, expected)
    nanoseconds = span.end_time_unix_nano - span.start_time_unix_nano
    assert nanoseconds == round(arguments.get("duration_seconds", 0) * 1e9)
    failed = expected.get("status") in ("error", "dead") or call == "observe_error"
    assert span.status.code == (Status.STATUS_CODE_ERROR if failed else Status.STATUS_CODE_UNSET)


def test_every_documented_metric_has_a_helper() -> None:
    documented = {line for helper in vars(observability).values() for line in str(helper.__doc__).split("`")}
    derived = {metric for metric in _metric_names() if metric != "telemetry_spans_lost_total"}
    assert derived - documented == set()


def _metric_names() -> list[str]:
    import yaml

    from app.observability.contract import PATH

    return [metric["name"] for metric in yaml.safe_load(PATH.read_text())["metrics"]]


@pytest.mark.parametrize(
    "duration", [-0.1, float("nan"), float("inf"), float("-inf"), True, "1", None, 1e9, 10**400, Decimal(1), -1]
)
def test_an_impossible_duration_is_an_error_and_sends_nothing(sent: Sent, duration: Any) -> None:
    with pytest.raises(ValueError, match="duration_seconds"):
        observability.observe_hydration(duration_seconds=duration)
    assert sent() == []


@pytest.mark.parametrize("duration", [0, 1, 0.5, 365 * 24 * 3600, Fraction(1, 2), np.float32(0.5), np.int64(2)])
def test_any_real_number_up_to_a_year_is_a_duration(sent: Sent, duration: Any) -> None:
    observability.observe_hydration(duration_seconds=duration)
    (span,) = sent()
    assert span.end_time_unix_nano - span.start_time_unix_nano == float(duration) * 1e9


def test_a_negative_queue_size_is_an_error() -> None:
    with pytest.raises(ValueError, match="size"):
        observability.observe_mem0_queue_size(size=-1)


def test_the_documented_example_makes_a_span_with_its_events(sent: Sent) -> None:
    with trace_span("process_message", {"message_id": "3EB0C767D097B7C7C0A1"}):
        for event in ("hydration_started", "classification_started", "response_generation"):
            add_span_event(event)
    (span,) = sent()
    assert attributes(span) == {"message_id": "3EB0C767D097B7C7C0A1"}
    assert [event.name for event in span.events] == [
        "hydration_started",
        "classification_started",
        "response_generation",
    ]


async def test_spans_nest_in_sync_and_async_code(sent: Sent) -> None:
    async def step(name: str) -> None:
        async with trace_span(name):
            await asyncio.sleep(0)

    with trace_span("outer"):
        await asyncio.gather(step("left"), step("right"))
        with trace_span("inner"):
            await asyncio.to_thread(lambda: trace_span("thread").__enter__().end())
    spans = {span.name: span for span in sent()}
    assert set(spans) == {"outer", "left", "right", "inner", "thread"}
    assert {spans[name].parent_span_id for name in ("left", "right", "inner")} == {spans["outer"].span_id}
    assert spans["thread"].parent_span_id == spans["inner"].span_id


def test_one_trace_span_may_be_used_again_after_it_ended(sent: Sent) -> None:
    step = trace_span("step")
    for _ in range(2):
        with step, trace_span("inner"):
            pass
    with pytest.raises(KeyError), step:
        raise KeyError
    spans = sent()
    assert [span.name for span in spans] == ["inner", "step", "inner", "step", "step"]
    assert spans[0].parent_span_id == spans[1].span_id != spans[3].span_id
    assert not trace.get_current_span().get_span_context().is_valid


def test_one_trace_span_within_itself_is_an_error_and_leaves_the_outer_one_whole(sent: Sent) -> None:
    step = trace_span("step")
    with step as outer:
        with pytest.raises(RuntimeError, match="is open"), step:
            pass
        assert trace.get_current_span() is outer
        with trace_span("inner"):
            pass
    assert not trace.get_current_span().get_span_context().is_valid
    inner, span = sent()
    assert inner.parent_span_id == span.span_id
    assert span.status.code == Status.STATUS_CODE_UNSET


async def test_one_trace_span_in_two_tasks_at_once_is_an_error_in_the_second(sent: Sent) -> None:
    step = trace_span("step")

    async def work() -> str:
        try:
            async with step:
                await asyncio.sleep(0.01)
                async with trace_span("inner"):
                    await asyncio.sleep(0.01)
                return "done"
        except RuntimeError as error:
            return str(error).split(":")[0]

    assert sorted(await asyncio.gather(work(), work(), work())) == ["done"] + ["this trace_span is open"] * 2
    inner, span = sent()
    assert inner.parent_span_id == span.span_id


def test_a_trace_span_that_could_not_start_or_is_not_open_says_so(sent: Sent) -> None:
    step = trace_span("step", context="no context")  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(AttributeError), step:
            pass
    with pytest.raises(RuntimeError, match="not open"):
        step.__exit__(None, None, None)
    with pytest.raises(TypeError, match="not callable"):
        step(print)  # type: ignore[operator]
    assert sent() == []


@pytest.mark.parametrize(
    "error", [ValueError("patient +5511999990000"), asyncio.CancelledError("maria"), SystemExit(3)]
)
def test_a_block_left_by_any_exception_is_an_error_without_its_words(sent: Sent, error: BaseException) -> None:
    with pytest.raises(type(error)), trace_span("work"):
        raise error
    (span,) = sent()
    assert span.status == Status(code=Status.STATUS_CODE_ERROR)
    (event,) = span.events
    assert {item.key: item.value.string_value for item in event.attributes} == {"exception.type": type(error).__name__}
    assert b"+5511999990000" not in span.SerializeToString()
    assert b"maria" not in span.SerializeToString()


def test_what_the_contract_does_not_know_leaves_as_other_or_not_at_all(sent: Sent) -> None:
    hostile: dict[str, Any] = {
        "lane": "maria silva",
        "status": 5,
        "patient_phone": "+5511999990000",
        "http.route": "/x/5511",
    }
    with trace_span("Consulta de Maria 5511999990000", hostile):
        add_span_event("Maria disse olá")
    (span,) = sent()
    assert span.name == "other"
    assert attributes(span) == {"lane": "other", "status": "other", "http.route": "other"}
    assert [event.name for event in span.events] == ["other"]


@pytest.mark.parametrize(
    ("given", "leaves"),
    [
        ("POST /webhooks/evolution/{event}", "POST /webhooks/evolution/{event}"),
        ("BEGIN;", "BEGIN;"),
        ("insert", "insert"),
        ("CURSOR: select", "cursor"),
        ("GET SET", "other"),
        ("select 'maria'", "other"),
        ("mem0.write", "mem0.write"),
        ("patient.5511", "other"),
        ("joão", "other"),
        ("", "other"),
        ("a" * 65, "other"),
    ],
)
def test_a_name_leaves_only_in_the_contracts_shapes(sent: Sent, given: str, leaves: str) -> None:
    with trace_span(given):
        pass
    assert sent()[0].name == leaves


@pytest.mark.parametrize(
    ("given", "leaves"),
    [
        ("3EB0C767D097B7C7C0A1", "3EB0C767D097B7C7C0A1"),
        ("5511999990000", "other"),
        ("3EB05511999990000AAA", "other"),
        ("maria-silva", "other"),
        ("3EB0C767D097B7C7C0A1\n", "other"),
        ("A" * 65, "other"),
    ],
)
def test_a_message_id_leaves_only_if_it_can_hold_no_phone_number(sent: Sent, given: str, leaves: str) -> None:
    with trace_span("process_message", {"message_id": given}):
        pass
    assert attributes(sent()[0]) == {"message_id": leaves}


def test_init_tracing_twice_gives_the_same_telemetry(telemetry: Telemetry) -> None:
    assert init_tracing() is telemetry


def test_a_callers_error_type_is_one_of_the_contracts() -> None:
    import asyncpg
    import httpx
    import redis.exceptions

    request = httpx.Request("POST", "http://127.0.0.1")
    examples: dict[BaseException, str] = {
        TimeoutError(): "timeout",
        redis.exceptions.TimeoutError(): "timeout",
        httpx.ReadTimeout("", request=request): "timeout",
        asyncpg.QueryCanceledError(): "timeout",
        ConnectionRefusedError(): "connection",
        FileNotFoundError(): "connection",
        redis.exceptions.ConnectionError(): "connection",
        httpx.ConnectError("", request=request): "connection",
        asyncpg.AdminShutdownError(): "connection",
        asyncpg.TooManyConnectionsError(): "unavailable",
        httpx.HTTPStatusError("", request=request, response=httpx.Response(503)): "unavailable",
        httpx.HTTPStatusError("", request=request, response=httpx.Response(429)): "unavailable",
        httpx.HTTPStatusError("", request=request, response=httpx.Response(400)): "refused",
        asyncpg.UniqueViolationError(): "constraint",
        ValueError(): "invalid",
        KeyError(): "internal",
    }
    assert {type(error).__name__: error_type(error) for error in examples} == {
        type(error).__name__: expected for error, expected in examples.items()
    }
    assert set(examples.values()) == contract().labels["error_type"]
