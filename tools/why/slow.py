"""Why something takes longer: the spans in which the added time is spent, of slow traces against usual ones."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tools.base.errors import ToolError
from tools.show import trace
from tools.show.trace import Span
from tools.why.compare import Change, Comparison
from tools.why.finding import Finding, Row, capital, row, took

EVENTS = 5  # fewer say nothing
TRACES = 8  # are read of each stretch
SHARE = 0.1  # of the added time; what has less is not named
ACQUIRE = "db.acquire"
SYSTEMS = {"postgresql": "PostgreSQL", "redis": "Redis"}
ITSELF = "the service itself"
ANSWERED = 'status=~"success|error"'

Kind = tuple[str, str]
"""Who is waited for, and the span's name."""


@dataclass(frozen=True)
class Step:
    """Something with a duration: a histogram, and the span that it is made of."""

    said: str
    metric: str
    span: str
    limit: float
    """Seconds; a P95 below is nobody's trouble."""
    label: str = ""
    """Tells its kinds apart."""
    selector: str = ""


REQUEST = Step("webhook requests", "webhook_request_duration_seconds", "", 0.5, "lane", ANSWERED)
STEPS = {
    "idempotency-latency": Step("`idempotency.check`", "idempotency_check_duration_seconds", "idempotency.check", 0.01),
    "hydration-latency": Step("`context.hydrate`", "context_hydration_duration_seconds", "context.hydrate", 0.2),
    "database-latency": Step("database queries", "database_query_duration_seconds", "", 1.0, "operation"),
}


class Slow:
    """Finds it for one step. `stores` is where traces are asked for, with the id's place open."""

    def __init__(self, step: Step, stores: Sequence[str]) -> None:
        self._step, self._stores = step, stores

    def __call__(self, now: Comparison) -> Iterator[Finding]:
        """Yields one finding, or none where it takes as long as before."""
        step = self._step
        p95 = now.p95(step.metric, step.selector).get("")
        if p95 is None or math.isnan(p95.during):
            return
        if not now.alerted and not (p95.during > step.limit and p95.rose(1.5) and self._too_slow(now) >= EVENTS):
            return
        first = row(f"P95 of {step.said}", p95, took)
        by_kind = now.p95(step.metric, step.selector, step.label) if step.label else {}
        kinds = {kind: change for kind, change in by_kind.items() if not math.isnan(change.during)}
        slower = [kind for kind, change in kinds.items() if change.during > step.limit and change.rose(1.5)]
        if not p95.rose(1.2):
            yield Finding(f"{capital(step.said)} take as long as before: P95 is {took(p95.during)}", (first,))
            return
        where, rows, ids = self._where(now)
        went = f"is {took(p95.during)}, with nothing before it to compare"
        if not math.isnan(p95.before):
            went = f"went from {took(p95.before)} to {took(p95.during)}"
        rows = [first, *rows, *(row(f"P95, {step.label} `{kind}`", kinds[kind], took) for kind in slower)]
        yield Finding(f"P95 of {step.said}{_of(slower, kinds, step.label)} {went}: {where}", tuple(rows), tuple(ids))

    def _too_slow(self, now: Comparison) -> float:
        """How many took longer than the limit, which is a bucket's edge."""
        step = self._step
        both = [now.rate(f"{step.metric}_count{{{step.selector}}}")]
        both += [now.rate(f'{step.metric}_bucket{{{step.selector}{"," * bool(step.selector)}le="{step.limit}"}}')]
        return (both[0].during - both[1].during) * now.during.seconds

    def _where(self, now: Comparison) -> tuple[str, list[Row], list[str]]:
        """The spans with the added time, said and as rows, and the ids of slow traces."""
        slowest = sorted(now.exemplars(self._step.metric, now.during), key=lambda one: one.value, reverse=True)
        usual = now.exemplars(self._step.metric, now.before)
        slow, ids = self._spent([one.trace_id for one in slowest])
        if not slow:
            return self._by_series(now)
        usually, _ = self._spent([one.trace_id for one in sorted(usual, key=lambda one: one.value)[: TRACES * 2]])
        nothing = 0.0 if usually else math.nan
        changes = {kind: Change(usually.get(kind, nothing), seconds) for kind, seconds in slow.items()}
        return (*_named(changes, "a trace"), ids)

    def _spent(self, trace_ids: Sequence[str]) -> tuple[dict[Kind, float], list[str]]:
        """Mean seconds of each kind of span itself in the first of these traces that are stored, and their ids."""
        read: list[dict[Kind, float]] = []
        ids: list[str] = []
        for trace_id in trace_ids[: 2 * TRACES]:
            if len(read) < TRACES and (spans := self._fetch(trace_id)):
                read.append(spent(spans, self._step.span))
                ids.append(trace_id)
        names = {name for one in read for name in one}
        return {name: sum(one.get(name, 0.0) for one in read) / len(read) for name in names}, ids

    def _fetch(self, trace_id: str) -> list[Span]:
        try:
            return trace.fetch(trace_id, self._stores)
        except ToolError:  # the store is away
            self._stores = ()
            return []

    def _by_series(self, now: Comparison) -> tuple[str, list[Row], list[str]]:
        """The same of what has series, where the store has no trace: waiting for a connection is in none."""
        metric = self._step.metric
        whole = now.change(_PER_REQUEST.format(f"sum(rate({metric}_sum{{{self._step.selector}}}[window]))"))
        changes: dict[Kind, Change] = {}
        for system, name in (("PostgreSQL", "database_query"), ("Redis", "cache_operation")):
            sums = f"sum by (operation) (rate({name}_duration_seconds_sum[window]))"
            found = now.changes(_PER_REQUEST.format(sums), "operation")
            changes |= {(system, operation): change for operation, change in found.items()}
        explained = sum(max(0.0, change.more) for change in changes.values())
        if explained < 0.5 * whole.more:
            return "no series tells where, and no trace of it is stored", [], []
        where, rows = _named(changes, "a request")
        return f"{where} (by the series; no trace of it is stored)", rows, []


_PER_REQUEST = f"{{}} / scalar(sum(rate({REQUEST.metric}_count{{{{{ANSWERED}}}}}[window])))"


def spent(spans: Sequence[Span], under: str = "") -> dict[Kind, float]:
    """Seconds in each kind of span that were in none of its children, below the first span of this name.

    Without a name below the SERVER span. What the worker did later is not part of the request.
    """
    children: defaultdict[str, list[Span]] = defaultdict(list)
    for span in spans:
        children[span.parent_id].append(span)
    roots = [span for span in spans if (span.name == under if under else span.kind == "SERVER")]
    found: defaultdict[Kind, float] = defaultdict(float)

    def walk(span: Span, end: int) -> None:
        below = [child for child in children[span.span_id] if child.end <= end]
        found[_kind(span)] += (span.end - span.start - _covered(below)) / 1e9
        for child in below:
            walk(child, end)

    for root in roots[:1]:
        walk(root, root.end)
    return dict(found)


def _covered(spans: Sequence[Span]) -> int:
    """Nanoseconds in which at least one of them runs."""
    total, until = 0, 0
    for span in sorted(spans, key=lambda one: one.start):
        total += max(0, span.end - max(span.start, until))
        until = max(until, span.end)
    return total


def _kind(span: Span) -> Kind:
    """A span's name and who it waits for."""
    if span.name == ACQUIRE:
        return "PostgreSQL", ACQUIRE
    return SYSTEMS.get(span.attributes.get("db.system.name", ""), ITSELF), span.name


def _named(changes: Mapping[Kind, Change], each: str) -> tuple[str, list[Row]]:
    """A sentence's part with the kinds that the added time is in, and their rows."""
    added = sum(max(0.0, change.more) for change in changes.values())
    if not added:
        return "no step takes longer", []
    order = sorted(changes, key=lambda kind: changes[kind].more, reverse=True)
    named = [kind for kind in order if changes[kind].more >= SHARE * added]
    share = sum(changes[kind].more for kind in named) / added
    systems = list(dict.fromkeys(system for system, _ in named))
    where = " and in ".join(
        f"{system} ({', '.join(f'`{name}`' for one, name in named if one == system)})" for system in systems
    )
    sentence = f"{share:.0%} of the added time is in {where}"
    if [name for system, name in named if system == "PostgreSQL"] == [ACQUIRE]:
        sentence += ", waiting for a connection while statements are quick: too few of them (`DATABASE_POOL_SIZE`)"
    return sentence, [row(f"{kind[0]}, `{kind[1]}`, {each}", changes[kind], took) for kind in named]


def _of(some: Collection[str], kinds: Collection[str], label: str) -> str:
    """Which kinds it is about, if it is about some."""
    if not some:
        return ""
    if len(some) == len(kinds) > 1:
        return f" (every {label})"
    return f" ({label} {', '.join(f'`{one}`' for one in sorted(some))})"
