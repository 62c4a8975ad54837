"""A trace as a waterfall in the terminal, from Jaeger or Tempo."""

import base64
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tools.base.errors import ToolError
from tools.base.prometheus import Exemplar, Prometheus
from tools.stack.where import store, where

STORES = {"jaeger": "/api/v3/traces/{}", "tempo": "/api/v2/traces/{}"}  # where each gives a trace as OTLP JSON
WINDOW_SECONDS = 15 * 60
NEWEST = 20
ANSWER_SECONDS = 5.0  # is waited for Prometheus
METRIC = "webhook_request_duration_seconds_bucket"
SHOWN = (
    "lane",
    "operation",
    "cache_type",
    "query_type",
    "result",
    "status",
    "component",
    "error.type",
    "http.response.status_code",
)
KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
COLOURS = {"SERVER": "cyan", "CLIENT": "yellow"}
BAR_SHARE = 0.4  # of the terminal's width
NARROWEST_PART = 8  # columns of the time axis: room for the time the part starts at


@dataclass(frozen=True, slots=True)
class Span:
    """A span as both stores tell it; times in nanoseconds."""

    span_id: str
    parent_id: str
    name: str
    kind: str
    start: int
    end: int
    failed: bool
    attributes: dict[str, str]
    events: tuple[tuple[int, str], ...]


# --- reading ---------------------------------------------------------------------------------------------------------


def find_slow(prometheus: Prometheus, now: float) -> list[Exemplar]:
    """The newest exemplars of webhook requests, slowest first. Raises PrometheusError."""
    newest = sorted(exemplars(prometheus, now), key=lambda exemplar: exemplar.time)[-NEWEST:]
    return sorted(newest, key=lambda exemplar: exemplar.value, reverse=True)


def exemplars(prometheus: Prometheus, now: float) -> list[Exemplar]:
    """All of the last minutes of webhook requests, one a trace. Raises PrometheusError."""
    return list({one.trace_id: one for one in prometheus.exemplars(METRIC, now - WINDOW_SECONDS, now)}.values())


def fetch(trace_id: str, stores: Sequence[str]) -> list[Span]:
    """The trace's spans from the first store that has it, none if no store has. Raises ToolError."""
    reached = False
    for url in stores:
        try:
            response = httpx.get(url.format(trace_id), timeout=10.0, trust_env=False)
            if response.status_code != 404:
                response.raise_for_status()
            reached = True
            spans = parse(response.json()) if response.is_success else []
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            continue
        if spans:
            return spans
    if not reached:
        where = " or ".join(url.partition("/api/")[0] for url in stores)
        raise ToolError(f"no trace store answers at {where}: `make status`, or set JAEGER_URL or TEMPO_URL")
    return []


def parse(payload: dict[str, Any]) -> list[Span]:
    """Spans of an OTLP JSON answer (Jaeger wraps it in `result`, Tempo in `trace`), each once, by start."""
    trace = payload.get("result") or payload.get("trace") or payload
    spans = {
        span.span_id: span
        for resource in trace.get("resourceSpans", [])
        for scope in resource.get("scopeSpans", [])
        for span in map(_span, scope.get("spans", []))
        if span.span_id
    }
    return sorted(spans.values(), key=lambda span: (span.start, -span.end))


def _span(raw: dict[str, Any]) -> Span:
    kind = raw.get("kind", 0)
    return Span(
        span_id=_hexadecimal(raw.get("spanId", "")),
        parent_id=_hexadecimal(raw.get("parentSpanId", "")),
        name=raw.get("name", ""),
        kind=KINDS[kind] if isinstance(kind, int) else kind.removeprefix("SPAN_KIND_"),
        start=int(raw.get("startTimeUnixNano", 0)),
        end=int(raw.get("endTimeUnixNano", 0)),
        failed=raw.get("status", {}).get("code", 0) in (2, "STATUS_CODE_ERROR"),
        attributes={one["key"]: str(*one.get("value", {}).values()) for one in raw.get("attributes", [])},
        events=tuple((int(one.get("timeUnixNano", 0)), one.get("name", "")) for one in raw.get("events", [])),
    )


def _hexadecimal(identifier: str) -> str:
    """Tempo writes ids in base64, where 8 bytes take 12 characters; Jaeger in hexadecimal, 16."""
    return base64.b64decode(identifier).hex() if len(identifier) == 12 else identifier


# --- the time axis ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of time (nanoseconds) and the columns it takes."""

    start: int
    end: int
    column: int
    width: int


class Axis:
    """Maps times to columns.

    Time in which nothing ran is left out, and where the request was answered a new part begins. Each part has its own
    scale and gets room by the number of its spans: ten milliseconds of request stay readable beside the seconds that
    the worker may need afterwards.
    """

    def __init__(self, spans: Sequence[Span], width: int) -> None:
        stretches = _stretches(spans, most=max(1, width // (NARROWEST_PART + 2)))
        weights = [sum(start <= span.start < end for span in spans) for start, end in stretches]
        free = width - NARROWEST_PART * len(stretches) - (len(stretches) - 1)
        self.width = width
        self.parts: list[Part] = []
        column = 0
        for index, (start, end) in enumerate(stretches):
            share = sum(weights[: index + 1]) / (sum(weights) or 1)
            border = round(free * share) + NARROWEST_PART * (index + 1) + index
            self.parts.append(Part(start, end, column, border - column))
            column = border + 1
        self.left_out = spans_end(spans) - stretches[0][0] - sum(end - start for start, end in stretches)

    def columns(self, start: int, end: int) -> range:
        """The columns of a stretch of time, one at least."""
        first = next(part for part in reversed(self.parts) if part.start <= start)
        last = next(part for part in self.parts if part.end >= end)
        begin = first.column + min((start - first.start) * first.width // _length(first), first.width - 1)
        finish = last.column - (last.start - end) * last.width // _length(last)
        return range(begin, max(begin + 1, finish))

    @property
    def ruler(self) -> str:
        """When each part starts."""
        zero = self.parts[0].start
        return "┆".join(readable_time(part.start - zero).ljust(part.width)[: part.width] for part in self.parts)

    @property
    def background(self) -> list[str]:
        """An empty row: the borders between the parts."""
        borders = {part.column - 1 for part in self.parts[1:]}
        return ["┆" if column in borders else " " for column in range(self.width)]


def spans_end(spans: Sequence[Span]) -> int:
    """When the last span ended, in nanoseconds."""
    return max(span.end for span in spans)


def _length(part: Part) -> int:
    return (part.end - part.start) or 1


def _stretches(spans: Sequence[Span], most: int) -> list[tuple[int, int]]:
    """The parts of the axis, `most` at most: without the long pauses, and split where the request was answered."""
    busy = [(spans[0].start, spans[0].end)]
    for span in spans[1:]:
        start, end = busy[-1]
        busy[-1:] = [(start, max(end, span.end))] if span.start <= end else [busy[-1], (span.start, span.end)]
    worth_a_cut = sum(end - start for start, end in busy) // 20
    while len(busy) > 1:
        pauses = [after[0] - before[1] for before, after in pairwise(busy)]
        shortest = min(range(len(pauses)), key=pauses.__getitem__)
        if len(busy) < most and pauses[shortest] > worth_a_cut:
            break
        busy[shortest : shortest + 2] = [(busy[shortest][0], busy[shortest + 1][1])]
    answered = next((span.end for span in spans if span.kind == "SERVER"), 0)
    return [
        piece
        for start, end in busy
        for piece in ([(start, answered), (answered, end)] if start < answered < end else [(start, end)])
    ]


# --- drawing ---------------------------------------------------------------------------------------------------------


def readable_time(nanoseconds: int) -> str:
    """For people: `0.42 ms`, `12.3 ms`, `1.43 s`."""
    milliseconds = nanoseconds / 1e6
    if milliseconds >= 999.95:
        return f"{milliseconds / 1000:.2f} s"
    return f"{milliseconds:.1f} ms" if milliseconds >= 9.995 else f"{milliseconds:.2f} ms"


def draw(console: Console, trace_id: str, spans: Sequence[Span]) -> None:
    """Print the waterfall."""
    axis = Axis(spans, max(round(console.width * BAR_SHARE), 2 * (NARROWEST_PART + 2)))
    start = spans[0].start
    pause = f", {readable_time(axis.left_out)} of it idle and left out" if axis.left_out else ""
    console.print(f"trace {trace_id}   {len(spans)} spans   {readable_time(spans_end(spans) - start)}{pause}\n")
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("start", justify="right", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column(axis.ruler, width=axis.width, no_wrap=True)
    table.add_column("span", overflow="fold")
    for span, branch in _tree(spans):
        took = readable_time(span.end - span.start)
        table.add_row(readable_time(span.start - start), took, _bar(axis, span), _label(span, branch))
    console.print(table)


def _tree(spans: Sequence[Span]) -> Iterator[tuple[Span, str]]:
    """The spans depth first, each with its branch; one whose parent is not there stands at the root and says so."""
    known = {span.span_id for span in spans}
    children: defaultdict[str, list[Span]] = defaultdict(list)
    for span in spans:
        children[span.parent_id if span.parent_id in known else ""].append(span)

    def walk(siblings: list[Span], trunk: str, root: bool) -> Iterator[tuple[Span, str]]:
        for span in siblings:
            last = span is siblings[-1]
            yield span, "" if root else trunk + ("└ " if last else "├ ")
            yield from walk(children[span.span_id], "" if root else trunk + ("  " if last else "│ "), False)

    orphans = [span for span in children[""] if span.parent_id]
    yield from walk([span for span in children[""] if not span.parent_id], "", True)
    for span, branch in walk(orphans, "", True):
        yield span, branch or "(parent missing) "


def _colour(span: Span) -> str:
    return "red" if span.failed else COLOURS.get(span.kind, "green")


def _bar(axis: Axis, span: Span) -> Text:
    cells = axis.background
    columns = axis.columns(span.start, span.end)
    cells[columns.start : columns.stop] = "█" * len(columns)
    for at, _ in span.events:
        cells[axis.columns(*[min(max(at, span.start), span.end)] * 2).start] = "◆"
    text = Text("".join(cells), style="dim")
    text.stylize(f"not dim {_colour(span)}", columns.start, columns.stop)
    return text


def _label(span: Span, branch: str) -> Text:
    attributes = " ".join(
        f"{key.removeprefix('http.response.')}={span.attributes[key]}" for key in SHOWN if key in span.attributes
    )
    return Text.assemble(
        (branch, "dim"),
        (span.name, _colour(span)),
        (" ERROR" if span.failed else "", "bold red"),
        (f" {span.kind.lower()}" if span.kind != "INTERNAL" else "", "dim"),
        (f" {attributes}" if attributes else ""),
        ("".join(f" ◆{name}" for _, name in span.events), "dim"),
    )


def stores() -> tuple[str, ...]:
    """Where traces are asked for; the id's place is open. Raises ToolError."""
    named = [name for name in STORES if os.environ.get(f"{name.upper()}_URL")]
    return tuple(where(name) + STORES[name] for name in named or [store()])


def prometheus_here() -> Prometheus:
    """What is asked for exemplars. Raises ToolError."""
    return Prometheus(where("prometheus"), ANSWER_SECONDS)
