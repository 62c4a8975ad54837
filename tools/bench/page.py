"""docs/benchmarks.md and its picture, from what was measured."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from tools.bench.measured import SECONDS, Measured
from tools.bench.rounds import Spread, ratio

PAGE, PICTURE = "docs/benchmarks.md", "docs/benchmarks.svg"
MILLI = 1e3

HEAD = """\
# Benchmarks
What the telemetry costs, beside what else one could pick. `make bench` measures all of it in about ten minutes and
writes this page; `make bench ARGS="messages --rounds 20"` shows one part again. CPU time, not wall time; what is
compared runs at the same time, in short turns and random order; a ratio is taken within a round, and its median stands
with the quartiles. No test asserts any of it: tests bound what no load moves, the Python calls of a span and a message.

![CPU a span and a message](benchmarks.svg)
"""


def lines(found: Measured) -> Iterator[str]:
    """The page's sections, those that were measured."""
    if found.spans:
        yield from _spans(found.spans)
    if found.messages:
        yield from _messages(found)
    if found.collector:
        yield from _collector(found.collector)
    if found.growth:
        yield from _growth(found)
    if found.visible:
        yield from _visible(found.visible)
    if found.idle and found.loaded:
        yield from _processes(found)


def page(found: Measured) -> str:
    """The whole page."""
    at = f"{datetime.now(UTC):%Y-%m-%d}, {found.machine}, {found.rounds} rounds, load {found.load:.1f} at the start"
    return "\n".join([HEAD, f"Measured {at}.", "", *lines(found)])


def _spans(spans: Mapping[str, Sequence[float]]) -> Iterator[str]:
    yield from (
        "## A span",
        "Created, cleaned, encoded, sent and taken, hot; 10 000 with three attributes a round.",
        "",
    )
    yield from ("| | µs CPU | × ours |", "|---|---:|---:|")
    for name in spans:
        yield f"| {name} | {Spread.of(spans[name]).text(1)} | {ratio(spans, name, 'ours').text(2)} |"
    yield from ("", "For prometheus_client an observation and a count; a block without telemetry is `none`.", "")


def _messages(found: Measured) -> Iterator[str]:
    assert found.messages is not None  # noqa: S101 - asked by who calls
    cpu, p50, p95 = found.messages.cpu, found.messages.p50, found.messages.p95
    yield from ("## A message", "CPU of the web process a request, the same mix at 80 messages a second.", "")
    yield from ("| | ms CPU | × none | P50, ms | P95, ms | Python calls |", "|---|---:|---:|---:|---:|---:|")
    for name in cpu:
        calls = f"{found.calls[name]:.0f}" if name in found.calls else ""
        yield (
            f"| {name} | {_scaled(cpu[name], MILLI).text()} | {ratio(cpu, name, 'none').text()} "
            f"| {_scaled(p50[name], MILLI).middle:.1f} | {_scaled(p95[name], MILLI).middle:.1f} | {calls} |"
        )
    yield from (
        "",
        "none: no provider, no instrumentation, `trace_span` an empty block; `OTEL_SDK_DISABLED` takes more than that.",
        "prometheus_client: a histogram and a counter at each `trace_span`, but nothing for SQL, Redis and HTTP.",
        "OpenTelemetry SDK: its tracer, batch processor and exporter in the place of ours, the same instrumentation.",
        "",
    )


def _collector(collector: Mapping[str, Mapping[str, Sequence[float]]]) -> Iterator[str]:
    yield from (
        "## A span in the Collector",
        "",
        "| requests | bare, µs CPU | shipped | × bare |",
        "|---|---:|---:|---:|",
    )
    for size, figures in collector.items():
        bare, shipped = (Spread.of(figures[name]).text(1) for name in ("bare", "shipped"))
        yield f"| {size} | {bare} | {shipped} | {ratio(figures, 'shipped', 'bare').text()} |"
    yield from (
        "",
        "Bare: `otlp`, `span_metrics` and two exporters, as one would begin. It keeps nothing out, loses what a store",
        "that is away does not take, and has none of the documented names. Both are fed what the service sent.",
        "",
    )


def _growth(found: Measured) -> Iterator[str]:
    yield from ("## Growth", "A Collector after ever more traffic, of ever more processes.", "")
    yield from (
        "| traffic | processes | spans | samples shown | memory, MiB | µs CPU a span |",
        "|---|---:|---:|---:|---:|---:|",
    )
    for one in found.growth or ():
        traffic = f"{one.times} × | {one.processes} | {one.spans}"
        yield f"| {traffic} | {one.series} | {one.mebibytes:.0f} | {one.microseconds:.1f} |"
    yield ""


def _visible(seconds: Sequence[float]) -> Iterator[str]:
    ordered = sorted(seconds)
    yield from (
        "## From the webhook to Prometheus",
        f"{len(ordered)} messages, from the answer to the first query that counts it: median "
        f"{statistics.median(ordered):.1f} s, longest {ordered[-1]:.1f} s. The Collector shows what it has every 5 s, "
        "Prometheus asks every 5 s.",
        "",
    )


def _processes(found: Measured) -> Iterator[str]:
    assert found.idle is not None  # noqa: S101 - asked by who calls
    assert found.loaded is not None  # noqa: S101
    loaded, report = found.loaded
    messages = report.answered.total()
    rate = messages / SECONDS
    yield from ("## Every process", f"Idle, and at {rate:.0f} messages a second; {SECONDS:g} s each.", "")
    yield from (
        "| | idle, % of a core | MiB | loaded, % | MiB | CPU s a 1000 messages |",
        "|---|---:|---:|---:|---:|---:|",
    )
    for name, idle in found.idle.items():
        busy = loaded[name]
        yield (
            f"| {name} | {idle.cores:.1%} | {idle.mebibytes:.0f} | {busy.cores:.1%} | {busy.mebibytes:.0f} "
            f"| {busy.cores * SECONDS / messages * 1000:.2f} |"
        )
    yield from (
        "",
        f"{messages} requests: "
        + ", ".join(f"P{round(q * 100)} {report.latency(q) * MILLI:.1f} ms" for q in (0.5, 0.95, 0.99))
        + "; the sender runs on the same cores.",
        "",
    )


def _scaled(figures: Sequence[float], by: float) -> Spread:
    return Spread.of([figure * by for figure in figures])


BAR, ROW, LEFT, WIDE = 14, 24, 170, 640


def picture(found: Measured) -> str:
    """Bars: CPU a span, and a message."""
    rows: list[tuple[str, float, str]] = []
    if found.spans:
        rows.append(("µs CPU a span", 0, ""))
        rows += _bars({name: Spread.of(f).middle for name, f in found.spans.items()}, "µs")
    if found.messages:
        rows.append(("ms CPU a request", 0, ""))
        rows += _bars({name: Spread.of(f).middle * MILLI for name, f in found.messages.cpu.items()}, "ms")
    body = []
    for number, (name, share, text) in enumerate(rows):
        y = 8 + number * ROW
        if not text:
            body.append(f'<text x="8" y="{y + BAR}" font-weight="bold">{name}</text>')
            continue
        colour = "#3274d9" if name == "ours" else "#8e8e8e"
        width = round(share * (WIDE - LEFT - 90))
        body.append(f'<text x="{LEFT - 8}" y="{y + BAR - 2}" text-anchor="end">{name}</text>')
        body.append(f'<rect x="{LEFT}" y="{y}" width="{width}" height="{BAR}" fill="{colour}"/>')
        body.append(f'<text x="{LEFT + width + 6}" y="{y + BAR - 2}">{text}</text>')
    height = 16 + len(rows) * ROW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {height}" '
        'font-family="sans-serif" font-size="13">\n'
        f'<rect width="{WIDE}" height="{height}" fill="#ffffff"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def _bars(figures: Mapping[str, float], unit: str) -> list[tuple[str, float, str]]:
    longest = max(figures.values())
    return [(name, figure / longest, f"{figure:.1f} {unit}") for name, figure in figures.items()]
