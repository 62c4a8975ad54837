"""`make trace`: both stores' answers are read alike, and the waterfall shows what happened when."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from rich.console import Console

from tests.support.serving import serving
from tools.cli import run
from tools.show import trace
from tools.show.trace import Axis, Span, draw, parse, readable_time

TRACE = "0af7651916cd43dd8448eb211c80319c"
NOWHERE = "http://127.0.0.1:1"
MILLISECOND = 1_000_000


def span(
    span_id: str,
    parent_id: str,
    name: str,
    start: float,
    end: float,
    *,
    kind: str = "INTERNAL",
    failed: bool = False,
    events: tuple[tuple[float, str], ...] = (),
    **attributes: str,
) -> Span:
    """Times in milliseconds after the trace's start; `__` in a keyword stands for a dot."""
    origin = 1_767_225_600_000_000_000
    return Span(
        span_id=span_id.zfill(16),
        parent_id=parent_id and parent_id.zfill(16),
        name=name,
        kind=kind,
        start=origin + round(start * MILLISECOND),
        end=origin + round(end * MILLISECOND),
        failed=failed,
        attributes={key.replace("__", "."): value for key, value in attributes.items()},
        events=tuple((origin + round(at * MILLISECOND), event) for at, event in events),
    )


REQUEST = [
    span("1", "", "POST /webhooks/evolution", 0, 12.4, kind="SERVER", lane="faq", status="success"),
    span("2", "1", "idempotency.check", 0.3, 0.9, result="new"),
    span("3", "2", "GET", 0.4, 0.8, kind="CLIENT"),
    span("4", "1", "context.hydrate", 1, 11, events=((1.2, "hydration_started"),)),
    span("5", "4", "cache.get", 1.4, 1.8, cache_type="bundle", operation="get", result="miss"),
    span("6", "1", "lane.classify", 11.2, 11.2, lane="faq"),
]
AFTER = [
    span("7", "1", "reply.send", 400, 404, kind="CLIENT", failed=True, component="reply", error__type="timeout"),
    span("8", "1", "mem0.write", 401, 600, status="success"),
]


def otlp(spans: list[Span], *, tempo: bool = False) -> dict[str, Any]:
    """As Jaeger answers (ids in hexadecimal, numbers for kinds), or as Tempo does (base64, names)."""

    def identifier(text: str) -> str:
        return base64.b64encode(bytes.fromhex(text)).decode() if tempo else text

    def raw(one: Span) -> dict[str, Any]:
        return {
            "traceId": identifier(TRACE),
            "spanId": identifier(one.span_id),
            "parentSpanId": identifier(one.parent_id),
            "name": one.name,
            "kind": f"SPAN_KIND_{one.kind}" if tempo else trace.KINDS.index(one.kind),
            "startTimeUnixNano": str(one.start),
            "endTimeUnixNano": str(one.end),
            "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in one.attributes.items()],
            "events": [{"timeUnixNano": str(at), "name": name} for at, name in one.events],
            "status": {"code": "STATUS_CODE_ERROR" if tempo else 2} if one.failed else {},
        }

    resource_spans = [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": [raw(one)]}]} for one in spans]
    return {"trace" if tempo else "result": {"resourceSpans": resource_spans}}


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tempo", [False, True])
def test_both_stores_answers_are_read_alike(tempo: bool) -> None:
    assert parse(otlp(REQUEST + AFTER, tempo=tempo)) == REQUEST + AFTER


def test_a_span_that_was_delivered_twice_is_shown_once() -> None:
    assert parse(otlp(REQUEST + REQUEST[1:3])) == REQUEST


class FakeStores:
    """Jaeger with one trace, Tempo with another, and Prometheus with exemplars of all."""

    def __init__(self) -> None:
        self.exemplars: list[tuple[str, str, float]] = []
        """Trace id, value and time."""
        self.jaeger = {TRACE: otlp(REQUEST)}
        self.app = FastAPI()
        self.app.get("/api/v3/traces/{trace_id}")(self.of_jaeger)
        self.app.get("/tempo/api/v2/traces/{trace_id}")(self.of_tempo)
        self.app.get("/api/v1/query_exemplars")(self.query_exemplars)

    async def of_jaeger(self, trace_id: str) -> JSONResponse:
        return JSONResponse(self.jaeger.get(trace_id, {"error": {}}), 200 if trace_id in self.jaeger else 404)

    async def of_tempo(self, trace_id: str) -> JSONResponse:
        return JSONResponse(otlp(AFTER, tempo=True) if trace_id == "b" * 32 else {"trace": {}})

    async def query_exemplars(self, query: str, start: float, end: float) -> dict[str, Any]:
        assert (query, round(end - start)) == ("webhook_request_duration_seconds_bucket", 900)
        series = [
            {
                "seriesLabels": {"lane": "price"},
                "exemplars": [{"labels": {"trace_id": trace_id}, "value": value, "timestamp": at}],
            }
            for trace_id, value, at in self.exemplars
        ]
        return {"status": "success", "data": series}


@pytest.fixture
def stores() -> FakeStores:
    return FakeStores()


@pytest.fixture
def url(stores: FakeStores, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with serving(stores.app) as url:
        monkeypatch.setenv("JAEGER_URL", url)
        monkeypatch.setenv("TEMPO_URL", f"{url}/tempo")
        monkeypatch.setenv("PROMETHEUS_URL", url)
        yield url


@pytest.mark.usefixtures("url")
@pytest.mark.parametrize(("trace_id", "spans"), [(TRACE, 6), (TRACE.upper(), 6), ("b" * 32, 2)])
def test_a_trace_is_shown_from_whichever_store_has_it(
    trace_id: str, spans: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["trace", trace_id]) == 0
    assert capsys.readouterr().out.startswith(f"trace {trace_id.lower()}   {spans} spans   ")


@pytest.mark.usefixtures("url")
def test_one_store_is_enough(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("JAEGER_URL", NOWHERE)
    assert run(["trace", "b" * 32]) == 0
    assert "mem0.write" in capsys.readouterr().out


@pytest.mark.usefixtures("url")
def test_the_slowest_of_the_newest_requests_is_found(stores: FakeStores, capsys: pytest.CaptureFixture[str]) -> None:
    oldest = ("c" * 32, "9.9", 1.0)
    stores.exemplars = [oldest, *((f"{number:032x}", "0.1", 100.0 + number) for number in range(18))]
    stores.exemplars += [(TRACE, "0.214", 110.0), ("d" * 32, "0.2", 111.0)]
    stores.jaeger |= {"c" * 32: otlp(REQUEST), "d" * 32: otlp(REQUEST)}
    assert run(["trace"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("The slowest of the 20 newest exemplars: lane price, 214.0 ms, ")
    assert lines[1].startswith(f"trace {TRACE}   6 spans   12.4 ms")


@pytest.mark.usefixtures("url")
def test_a_request_whose_trace_is_gone_is_passed_over(stores: FakeStores, capsys: pytest.CaptureFixture[str]) -> None:
    stores.exemplars = [("e" * 32, "5", 100.0), (TRACE, "0.214", 110.0)]
    assert run(["trace"]) == 0
    assert f"trace {TRACE}" in capsys.readouterr().out


# --- what goes wrong -------------------------------------------------------------------------------------------------


def failure(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert run(["trace", *arguments]) == 1
    output, error = capsys.readouterr()
    assert output == ""
    return error


@pytest.mark.parametrize("trace_id", ["abc", "g" * 32, f"{TRACE}0"])
def test_a_malformed_id_is_refused(trace_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trace", trace_id]) == 2
    assert capsys.readouterr().err.endswith(f"'{trace_id}' is not a trace id: it takes 32 hexadecimal digits\n")


@pytest.mark.usefixtures("url")
def test_an_unknown_id_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert failure(["f" * 32], capsys).startswith(f"clinic: no trace {'f' * 32} in the store: ")


def test_stores_that_cannot_be_reached_are_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("JAEGER_URL", "TEMPO_URL", "PROMETHEUS_URL"):
        monkeypatch.setenv(name, NOWHERE)
    assert failure([TRACE], capsys).startswith(f"clinic: no trace store answers at {NOWHERE} or {NOWHERE}: ")
    assert failure([], capsys) == f"clinic: Prometheus at {NOWHERE} does not answer (ConnectError): `make status`\n"


@pytest.mark.usefixtures("url")
def test_no_exemplar_yet_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    line = "clinic: no request in the last 15 minutes: run `make load`, wait 10 s, try again\n"
    assert failure([], capsys) == line


@pytest.mark.usefixtures("url")
def test_exemplars_without_traces_are_said(stores: FakeStores, capsys: pytest.CaptureFixture[str]) -> None:
    stores.exemplars = [("e" * 32, "5", 100.0)]
    assert failure([], capsys).startswith("clinic: the store has none of the newest requests' traces: ")


# --- the picture -----------------------------------------------------------------------------------------------------


def picture(spans: list[Span], width: int = 120) -> list[str]:
    console = Console(width=width, force_terminal=False, highlight=False, markup=False)
    with console.capture() as capture:
        draw(console, TRACE, spans)
    return [line.rstrip() for line in capture.get().splitlines()]


WATERFALL = """\
trace 0af7651916cd43dd8448eb211c80319c   6 spans   12.4 ms

  start     took  0.00 ms                                           span
0.00 ms  12.4 ms  ████████████████████████████████████████████████  POST /webhooks/evolution server lane=faq
                                                                    status=success
0.30 ms  0.60 ms   ███                                              ├ idempotency.check result=new
0.40 ms  0.40 ms   ███                                              │ └ GET client
1.00 ms  10.0 ms     █◆██████████████████████████████████████       ├ context.hydrate ◆hydration_started
1.40 ms  0.40 ms       ██                                           │ └ cache.get operation=get cache_type=bundle
                                                                    result=miss
11.2 ms  0.00 ms                                             █      └ lane.classify lane=faq
"""

WITH_THE_WORKER = """\
trace 0af7651916cd43dd8448eb211c80319c   8 spans   600.0 ms, 387.6 ms of it idle and left out

   start      took  0.00 ms                        ┆400.0 ms          span
 0.00 ms   12.4 ms  ███████████████████████████████┆                  POST /webhooks/evolution server lane=faq
                                                                      status=success
 0.30 ms   0.60 ms  ███                            ┆                  ├ idempotency.check result=new
 0.40 ms   0.40 ms   █                             ┆                  │ └ GET client
 1.00 ms   10.0 ms    █◆████████████████████████   ┆                  ├ context.hydrate ◆hydration_started
 1.40 ms   0.40 ms     ██                          ┆                  │ └ cache.get operation=get cache_type=bundle
                                                                      result=miss
 11.2 ms   0.00 ms                              █  ┆                  ├ lane.classify lane=faq
400.0 ms   4.00 ms                                 ┆█                 ├ reply.send ERROR client component=reply
                                                                      error.type=timeout
401.0 ms  199.0 ms                                 ┆████████████████  └ mem0.write status=success
"""


def test_the_waterfall_of_a_request() -> None:
    assert picture(REQUEST) == WATERFALL.splitlines()


def test_what_the_worker_does_has_its_own_scale_and_the_pause_before_it_is_left_out() -> None:
    assert picture(REQUEST + AFTER) == WITH_THE_WORKER.splitlines()


def test_work_that_begins_before_the_answer_crosses_into_the_next_part() -> None:
    spans = [span("1", "", "POST", 0, 10, kind="SERVER"), span("2", "1", "mem0.write", 8, 100)]
    axis = Axis(spans, 41)
    assert [(part.column, part.width) for part in axis.parts] == [(0, 32), (33, 8)]
    assert axis.columns(spans[0].start, spans[0].end) == range(32)
    assert axis.columns(spans[1].start, spans[1].end) == range(25, 41)
    assert axis.left_out == 0


@pytest.mark.parametrize("width", [20, 32, 48, 80])
@pytest.mark.parametrize("count", [1, 2, 3, 10, 60])
def test_every_span_has_its_columns_however_many_pauses_there_are(count: int, width: int) -> None:
    spans = [span(str(number), "", "mem0.write", number * 1000, number * 1000 + 5) for number in range(count)]
    axis = Axis(spans, width)
    columns = [axis.columns(one.start, one.end) for one in spans]
    assert all(0 <= one.start < one.stop <= width for one in columns)
    assert columns == sorted(columns, key=lambda one: one.start)
    assert (columns[0].start, columns[-1].stop) == (0, width)
    assert len(axis.ruler) == width


def test_a_trace_without_duration_can_be_drawn() -> None:
    assert picture([span("1", "", "lane.classify", 0, 0)])[3].endswith("lane.classify")


def test_a_span_whose_parent_is_missing_stands_at_the_root_and_says_so() -> None:
    lines = picture([REQUEST[0], span("9", "deadbeef", "mem0.write", 5, 6)])
    assert lines[-1].endswith("(parent missing) mem0.write")


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0.00 ms"),
        (424_000, "0.42 ms"),
        (9_994_000, "9.99 ms"),
        (9_996_000, "10.0 ms"),
        (999_940_000, "999.9 ms"),
        (999_960_000, "1.00 s"),
        (83_200_000_000, "83.20 s"),
    ],
)
def test_durations_are_for_people(nanoseconds: int, text: str) -> None:
    assert readable_time(nanoseconds) == text
