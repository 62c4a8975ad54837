"""What is wrong with the observability itself, by what its own programs tell of themselves."""

import math
from collections.abc import Iterator

from tools.why.compare import Change, Comparison
from tools.why.finding import Finding, Row, a_second, capital, number, percent, row

FAILED = 5  # notifications: fewer are a restart's
QUEUED_BYTES = 50  # a span that waits takes three or four times as many
COLLECTOR = "otel-collector|otel-collector-derived"
NAMES = {"otel-collector": "the Collector", "otel-collector-derived": "the Collector", "alertmanager": "Alertmanager"}


def collector(now: Comparison) -> Iterator[Finding]:
    """It cannot be scraped."""
    up = now.change(f'min(avg_over_time(up{{job=~"{COLLECTOR}"}}[window]))', missing=0.0)
    if up.during < 0.9:
        yield Finding(
            f"The Collector cannot be scraped: it is down, stands still, or Prometheus asks elsewhere;"
            f" {percent(1 - up.during)} of the scrapes failed, so every other series is blind there",
            (row("scrapes of the Collector that succeed", up, percent),),
        )


def targets(now: Comparison) -> Iterator[Finding]:
    """Something else cannot be scraped, or shows more than Prometheus may take."""
    up = now.changes(f'min by (job) (avg_over_time(up{{job!~"{COLLECTOR}"}}[window]))', "job")
    limit = now.change("sum(increase(prometheus_target_scrapes_exceeded_sample_limit_total[window]))")
    down = {job: change for job, change in up.items() if change.during < 0.9}
    if not down and limit.during < 1:
        return
    who = " and ".join(NAMES.get(job, job) for job in sorted(down)) or "A target"
    rows = tuple(row(f"scrapes of {job} that succeed", change, percent) for job, change in down.items())
    if limit.during >= 1:
        yield Finding(
            f"{capital(who)} shows more series than Prometheus may take: {limit.during:.0f} scrapes were thrown away"
            " (`sample_limit`)",
            (*rows, row("scrapes thrown away", limit, number)),
        )
    else:
        yield Finding(f"{capital(who)} cannot be scraped: it is down, or stands still", rows)


def store(now: Comparison) -> Iterator[Finding]:
    """The trace store takes nothing, or refuses."""
    accepted = now.rate("otelcol_receiver_accepted_spans")
    sent = now.rate("otelcol_exporter_sent_spans")
    refused = now.rate("otelcol_exporter_send_failed_spans")
    dropped = now.rate("otelcol_exporter_enqueue_failed_spans")
    queue = now.change('max(max_over_time(otelcol_exporter_queue_size{data_type="traces"}[window]))')
    room = now.change("max(last_over_time(otelcol_exporter_queue_capacity[window]))", missing=math.inf)
    full = queue.during / room.during
    left = (accepted.during - sent.during) * now.during.seconds
    waits = (
        sent.during < 0.5 * accepted.during and queue.during > QUEUED_BYTES * left
    )  # else rates miss a restart's first
    rows = (
        row("spans that arrive", accepted, a_second),
        row("spans that the store takes", sent, a_second),
        row("spans that it refuses for good", refused, a_second),
        row("spans dropped, because the queue is full", dropped, a_second),
        row("bytes that wait in the queue, at most", queue, number),
    )
    if refused.during > 0.05 * (refused.during + sent.during) > 0:
        share = refused.during / (refused.during + sent.during)
        yield Finding(f"The trace store refuses {percent(share)} of the spans for good", rows)
    elif accepted.during > 0 and (waits or dropped.during > 0 or full > 0.8):
        yield Finding(
            f"The trace store takes too little: {a_second(sent.during)} of {a_second(accepted.during)} spans, so the"
            f" Collector's queue is {percent(full)} full"
            + (f" and {a_second(dropped.during)} are lost" if dropped.during else ""),
            rows,
        )


def refusing(now: Comparison) -> Iterator[Finding]:
    """The Collector refuses, since its memory is full, or holds nearly all of it."""
    refused = now.rate("otelcol_receiver_refused_spans")
    heap = now.change("max(max_over_time(otelcol_process_runtime_heap_alloc_bytes[window]))")
    arrive = now.rate("otelcol_receiver_accepted_spans")
    rows = (
        row("spans refused", refused, a_second),
        row("the Collector's memory in MiB, at most", Change(heap.before / 2**20, heap.during / 2**20), number),
        row("spans that arrive", arrive, a_second),
    )
    if refused.during > 0:
        yield Finding(
            f"The Collector refuses {a_second(refused.during)} spans: its memory limit is reached, with"
            f" {heap.during / 2**20:.0f} MiB in use",
            rows,
        )
    elif heap.during > 240 * 2**20:
        yield Finding(
            f"The Collector holds {heap.during / 2**20:.0f} MiB of memory instead of {heap.before / 2**20:.0f}, while"
            f" {a_second(arrive.during)} spans arrive",
            rows,
        )


def cardinality(now: Comparison) -> Iterator[Finding]:
    """More label sets than the Collector holds."""
    found = now.changes('count by (__name__) (last_over_time({otel_metric_overflow="true"}[window]))', "__name__")
    families = sorted({name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for name in found})
    if families:
        yield Finding(
            "The Collector holds no more label sets: what is new goes into one overflow series each of"
            f" {', '.join(f'`{name}`' for name in families[:3])}{' …' if len(families) > 3 else ''}",
            (Row("metrics with an overflow", "–", str(len(families))),),
        )


def derivation(now: Comparison) -> Iterator[Finding]:
    """Spans come, but no series is made of them."""
    accepted = now.rate("otelcol_receiver_accepted_spans")
    filtered = now.rate("otelcol_processor_filter_spans_filtered")
    derived = now.rate('{__name__=~"webhook_requests_total|database_queries_total|mem0_writes_total"}')
    if accepted.during > 0 and not derived.during:
        of = percent(min(1.0, filtered.during / accepted.during))
        yield Finding(
            f"The Collector derives nothing: {of} of the spans come from a service whose name it does not know"
            if filtered.during
            else "The Collector derives nothing from the spans that arrive",
            (
                row("spans that arrive", accepted, a_second),
                row("spans filtered out", filtered, a_second),
                row("events in derived series", derived, a_second),
            ),
        )


def service(now: Comparison) -> Iterator[Finding]:
    """The service tells nothing of itself any more."""
    alive = now.change("count(last_over_time(mem0_write_queue_size[20s]))" if now.during.seconds < 120 else _ALIVE)
    accepted = now.changes("sum(rate(otelcol_receiver_accepted_spans[30s]))").get("", Change(0, 0))
    if not alive.during:
        yield Finding(
            "The service sends nothing: it is down, stands still, or cannot reach the Collector or PostgreSQL",
            (row("processes that tell of themselves", alive, number), row("spans that arrive", accepted, a_second)),
        )


_ALIVE = "count(last_over_time(mem0_write_queue_size[2m]))"  # pushed, so nothing marks the end of a series


def lost(now: Comparison) -> Iterator[Finding]:
    """Spans that the service could not hand over."""
    found = now.changes("sum by (reason) (increase(telemetry_spans_lost_total[window]))", "reason")
    some = {reason: change for reason, change in found.items() if change.during >= 1}
    if some:
        worst = max(some, key=lambda reason: some[reason].during)
        yield Finding(
            f"The service loses spans, {some[worst].during:.0f} of them as `{worst}`: {_LOST[worst]}",
            tuple(row(f"spans lost, `{reason}`", change, number) for reason, change in some.items()),
        )


_LOST = {
    "refused": "what it sends them to refuses them for good",
    "queue_full": "it ends more spans than one thread can encode",
    "buffer_full": "the Collector has been away for longer than its memory holds",
    "shutdown": "it was stopped while the Collector was away",
}


def buckets(now: Comparison) -> Iterator[Finding]:
    """The objective's bucket is not there."""
    name = "webhook_request_duration_seconds_bucket"
    there = now.change(f"count(last_over_time({name}[20s]))")
    wanted = now.change(f'count(last_over_time({name}{{le="0.5"}}[20s]))')
    if there.during and not wanted.during:
        yield Finding(
            f"The Collector runs with other buckets: `{name}` has none of 500 ms, so the latency objective is blind",
            (row("series of the bucket of 500 ms", wanted, number), row("series of all buckets", there, number)),
        )


def rules(now: Comparison) -> Iterator[Finding]:
    """Rules that cannot be evaluated."""
    failed = now.changes(
        "sum by (rule_group) (increase(prometheus_rule_evaluation_failures_total[window]))", "rule_group"
    )
    some = {group: change for group, change in failed.items() if change.during >= 1}
    if some:
        named = ", ".join(f"`{group.rpartition('/')[2]}`" for group in sorted(some))
        yield Finding(
            f"Prometheus cannot evaluate rules of {named}: `make logs S=prometheus` has the reason",
            tuple(
                row(f"failed evaluations, `{group.rpartition('/')[2]}`", change, number)
                for group, change in some.items()
            ),
        )


def of_prometheus(now: Comparison) -> Iterator[Finding]:
    """A configuration that Prometheus could not load."""
    return _configuration(now, "prometheus", "Prometheus")


def of_alertmanager(now: Comparison) -> Iterator[Finding]:
    """A configuration that Alertmanager could not load."""
    return _configuration(now, "alertmanager", "Alertmanager")


def _configuration(now: Comparison, job: str, name: str) -> Iterator[Finding]:
    good = now.change(f"min(last_over_time({job}_config_last_reload_successful[window]))", missing=1.0)
    if not good.during:
        yield Finding(
            f"{name} was told to load a file that is no configuration, and runs on with the one before:"
            f" `make logs S={job}` has the line",
            (row(f"last reload of {name} succeeded (1: yes)", good, number),),
        )


def notifying(now: Comparison) -> Iterator[Finding]:
    """Nobody is told."""
    known = now.change("min(last_over_time(prometheus_notifications_alertmanagers_discovered[window]))", missing=1.0)
    if known.during < 1:
        yield Finding(
            "Prometheus knows no Alertmanager: its configuration names none, so nobody is told of any alert",
            (row("Alertmanagers that Prometheus knows", known, number),),
        )
    failed = now.rates("alertmanager_notifications_failed_total", "integration", "reason")
    some = {name: change for name, change in failed.items() if change.during > 0}
    total = sum(change.during for change in some.values()) * now.during.seconds
    if total >= (1 if now.alerted else FAILED):
        worst = max(some, key=lambda name: some[name].during)
        integration, _, reason = worst.partition("/")
        yield Finding(
            f"Alertmanager cannot notify by `{integration}`: {a_second(some[worst].during)} fail with `{reason}`",
            tuple(row(f"failed notifications, `{name}`", change, a_second) for name, change in some.items()),
        )
