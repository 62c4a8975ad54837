"""A Prometheus filled so that each value of each panel can be computed by hand.

These times are asked about: FULL, when all series there are count; QUIET, when requests come in and nothing else ever
happened; ONE_SIDED, when of two things that are added or divided only one ever happened; STILL, when everything is
there and nothing counts; NEVER, when there was nothing yet.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path

from tools.base.prometheus import Prometheus
from tools.model.expected import SHIPPED
from tools.stack.history_server import create, served

JOB = "healthcare-backend"
COLLECTOR = "otel-collector"
STEP, HALF_AN_HOUR = 15, 1800
FULL = 1_767_614_400  # 2026-01-05 12:00 UTC
QUIET, ONE_SIDED, STILL, NEVER = FULL + 3 * 3600, FULL + 6 * 3600, FULL + 9 * 3600, FULL - 24 * 3600
# How far back the first sample of a window lies, and how much has come since, in units of a series' own rate: over each
# of the windows 1m, 5m, 10m and 30m a series counts at another multiple of it, so that none can stand for another.
_PROGRESS = ((0, 0), (45, 45), (285, 2 * 285), (585, 3 * 585), (1785, 4 * 1785), (1800, 4 * 1800))
M1, M5 = 1, 2
_HASTE = (15, 10)  # so much sooner than that comes what the first Collector saw last: two samples tell no rate
_BEFORE = 20_000  # what was counted before, in the same unit: no window reaches back to the counter's 0

Labels = Mapping[str, str]
Counts = Mapping[float, float]
"""Events a second that took up to each edge, and longer than the edge below it."""
Series = tuple[str, Labels, float]

FIRST, SECOND = "first:1", "second:1"
COLLECTORS = {FIRST: 0.75, SECOND: 0.25}
"""What each of two sees of the events."""
WEBHOOK = "/webhooks/evolution"
CONVERSATIONS: dict[tuple[str, str], Counts] = {
    ("faq", "success"): {0.1: 60, 0.3: 20},
    ("price", "success"): {0.2: 40, 0.5: 8},
    ("scheduling", "success"): {0.5: 20, 1: 6},
    ("complex", "success"): {1: 10, 2: 5, 5: 2},
    ("none", "error"): {3: 4, 10: 2},
    ("faq", "other"): {10: 1, 30: 1},
}
"""By lane and status."""
OTHER_REQUESTS: dict[tuple[str, str], Counts] = {
    ("none", "duplicate"): {0.001: 300},
    ("none", "rejected"): {0.0005: 200},
    ("none", "ignored"): {0.002: 100},
}
QUICK: Counts = {0.1: 8, 0.2: 2}
IDEMPOTENCY: Counts = {0.0005: 50, 0.001: 40, 0.005: 10}
HYDRATION: Counts = {0.02: 60, 0.05: 30, 0.1: 7, 0.2: 3}
CACHE: dict[str, Counts] = {"get": {0.0005: 70, 0.002: 20}, "set": {0.005: 10}}
CLASSIFICATION: dict[str, Counts] = {"faq": {0.0001: 80, 0.0005: 10}, "complex": {0.3: 10}}
DATABASE: dict[str, Counts] = {"select": {0.005: 90, 0.02: 10}, "insert": {0.01: 10, 0.05: 10}, "commit": {0.1: 30}}
MEMORY: dict[str, Counts] = {"success": {0.2: 20, 0.5: 10}, "error": {5: 10}}
REPLIES: dict[str, Counts] = {"success": {0.3: 30, 1: 10}, "error": {10: 20}, "dead": {0.1: 40}}

REQUESTS: dict[tuple[str, str], float] = {
    ("faq", "success"): 3,
    ("price", "success"): 2,
    ("scheduling", "success"): 1,
    ("complex", "success"): 0.5,
    ("complex", "error"): 0.25,
    ("none", "duplicate"): 0.125,
    ("none", "rejected"): 4,
    ("none", "ignored"): 0.0625,
}
NEW_PROCESS, OLD_PROCESS, BACK_AGAIN = "0ab", "111", "222"


def quantile(share: float, *parts: Counts) -> float:
    """Where this share of the events ends, on the straight line from a bucket's lower edge to its upper one."""
    counts: Counter[float] = Counter()
    for part in parts:
        counts.update(part)
    rank, below = share * sum(counts.values()), 0.0
    for lower, upper in pairwise([0, *SHIPPED.buckets]):
        if counts[upper] and below + counts[upper] >= rank:
            return lower + (upper - lower) * (rank - below) / counts[upper]
        below += counts[upper]
    raise ValueError("no events")


def _buckets(name: str, labels: Labels, counts: Counts) -> Iterator[Series]:
    """Of two Collectors, each of which saw every other bucket's events."""
    for number, instance in enumerate(COLLECTORS):
        seen = dict(list(counts.items())[number::2])
        total = 0.0
        for edge in SHIPPED.buckets:
            total += seen.get(edge, 0)
            yield f"{name}_bucket", {"instance": instance, **labels, "le": str(float(edge))}, total
        yield f"{name}_bucket", {"instance": instance, **labels, "le": "+Inf"}, total


def _histograms() -> Iterator[Series]:
    everything = {**CONVERSATIONS, **OTHER_REQUESTS}
    for (lane, status), counts in everything.items():
        labels = {"endpoint": WEBHOOK, "lane": lane, "status": status}
        yield from _buckets("webhook_request_duration_seconds", labels, counts)
    elsewhere = {"endpoint": "other", "lane": "faq", "status": "success"}
    yield from _buckets("webhook_request_duration_seconds", elsewhere, {30: 500})
    yield from _buckets("idempotency_check_duration_seconds", {}, IDEMPOTENCY)
    yield from _buckets("context_hydration_duration_seconds", {}, HYDRATION)
    for operation, counts in CACHE.items():
        labels = {"operation": operation, "cache_type": "bundle"}
        yield from _buckets("cache_operation_duration_seconds", labels, counts)
    for lane, counts in CLASSIFICATION.items():
        yield from _buckets("classification_duration_seconds", {"lane": lane}, counts)
    for operation, counts in DATABASE.items():
        yield from _buckets("database_query_duration_seconds", {"operation": operation}, counts)
    for status, counts in MEMORY.items():
        yield from _buckets("mem0_write_duration_seconds", {"status": status}, counts)
    for status, counts in REPLIES.items():
        yield from _buckets("reply_send_duration_seconds", {"status": status}, counts)


def _counters() -> Iterator[Series]:
    for (lane, status), rate in REQUESTS.items():
        yield "webhook_requests_total", {"endpoint": WEBHOOK, "lane": lane, "status": status}, rate
    yield "cache_hits_total", {"cache_type": "bundle"}, 3
    yield "cache_misses_total", {"cache_type": "bundle"}, 1
    yield "cache_misses_total", {"cache_type": "catalog"}, 0.5  # it never hit
    yield "cache_hits_total", {"cache_type": "other"}, 2  # it never missed
    yield "errors_total", {"component": "cache", "error_type": "timeout"}, 0.5
    yield "errors_total", {"component": "database", "error_type": "connection"}, 0.25
    yield "hydration_queries_total", {"query_type": "patient"}, 2
    yield "hydration_queries_total", {"query_type": "history"}, 1
    for lane, rate in {"faq": 5, "price": 1, "scheduling": 2, "complex": 2}.items():
        yield "lane_classification_total", {"lane": lane}, rate
    for operation, status, rate in (("select", "success", 6), ("insert", "success", 3), ("select", "error", 0.5)):
        yield "database_queries_total", {"operation": operation, "status": status}, rate
    for status, rate in {"success": 2, "error": 0.5, "dead": 0.25}.items():
        yield "mem0_writes_total", {"status": status}, rate
    for status, rate in {"success": 5, "error": 1.5, "dead": 0.375}.items():
        yield "reply_sends_total", {"status": status}, rate
    for status, rate in {"ignored": 0.625, "rejected": 0.875}.items():
        yield "deliveries_kept_total", {"status": status}, rate
    yield "duplicate_messages_total", {}, 0.75
    for reason, lost in {"queue_full": 1.5, "refused": 0.25}.items():
        yield "telemetry_spans_lost_total", {"reason": reason}, lost


def _collector_counters() -> Iterator[Series]:
    for transport, accepted, refused in (("grpc", 20, 2), ("http", 5, 1)):
        labels = {"receiver": "otlp", "transport": transport}
        yield "otelcol_receiver_accepted_spans", labels, accepted
        yield "otelcol_receiver_refused_spans", labels, refused
    for exporter, sent, failed, dropped in (("otlp_grpc", 16, 1, 0.5), ("otlp_grpc/second", 4, 0.5, 0.25)):
        labels = {"exporter": exporter, "server_address": "store", "server_port": "4317"}
        yield "otelcol_exporter_sent_spans", labels, sent
        yield "otelcol_exporter_send_failed_spans", labels, failed
        yield "otelcol_exporter_enqueue_failed_spans", {"exporter": exporter}, dropped


def _collector_levels() -> Iterator[Series]:
    for exporter, kind, size in (("otlp_grpc", "traces", 300), ("otlp_grpc", "metrics", 100), ("second", "traces", 50)):
        labels = {"exporter": exporter, "data_type": kind}
        yield "otelcol_exporter_queue_size", labels, size
        yield "otelcol_exporter_queue_capacity", labels, 1000
    yield "otelcol_process_runtime_heap_alloc_bytes", {}, 2e8
    yield "otelcol_process_uptime", {}, 59


def _recorded() -> Iterator[Series]:
    yield "job:cache_hits:ratio_rate10m", {}, 0.875
    for slo, left, burnt in (("webhook-latency", 0.625, 0.1), ("webhook-success", -0.25, 0.02)):
        yield "slo:period_error_budget_remaining:ratio", {"slo": slo}, left
        for times, window in enumerate(("1h", "6h", "1d", "3d"), 1):
            yield f"slo:sli_error:ratio_rate{window}", {"slo": slo}, burnt * times


def _levels() -> Iterator[Series]:
    """What is a value and no count, with all its labels."""
    for job, up in ((COLLECTOR, 1), (f"{COLLECTOR}-derived", 1), ("prometheus", 1), ("alertmanager", 0)):
        target = {"job": job, "instance": f"{job}:1"}
        yield "up", target, up
        yield "scrape_duration_seconds", target, 0.125 * len(job)
        yield "scrape_samples_scraped", target, 100 * len(job)
    yield "up", {"job": "alertmanager", "instance": "another:1"}, 1
    for slo, objective in (("webhook-latency", 0.95), ("webhook-success", 0.995)):
        yield "slo:objective:ratio", {"slo": slo}, objective
    for state, severity in (("firing", "critical"), ("firing", "warning"), ("firing", "info"), ("pending", "critical")):
        yield "ALERTS", {"alertname": f"{state}-{severity}", "alertstate": state, "severity": severity}, 1
    for name, labels, value in _collector_levels():
        yield name, {"job": COLLECTOR, "instance": FIRST, **labels}, value
        yield name, {"job": "another", "instance": "another:1", **labels}, value * 0.75
    for instance, uptime in {SECOND: 60, "old:1": 7000, "older:1": 8000}.items():
        yield "otelcol_process_uptime", {"job": COLLECTOR, "instance": instance}, uptime
    yield "otelcol_process_uptime", {"job": "another", "instance": "young:1"}, 5
    for name, labels, value in _recorded():
        yield name, {"job": JOB, **labels}, value
        yield name, {"job": "another", **labels}, value / 2
    for job, waiting in ((JOB, 42), ("another", 99)):
        yield "mem0_write_queue_size", {"job": job, "instance": OLD_PROCESS}, waiting


def counting() -> Iterator[Series]:
    """Every counter and bucket with its events a second; of another job, too."""
    for name, labels, rate in _histograms():
        yield name, {"job": JOB, **labels}, rate
        yield name, {"job": "another", **labels}, 70 if labels["le"] in ("30.0", "+Inf") else 0
    for name, labels, rate in _counters():
        yield from _of_both(name, {"job": JOB, **labels}, rate)
        yield name, {"job": "another", "instance": "another:1", **labels}, rate * (len(labels) + 2)
    yield "webhook_requests_total", {"job": "another", "endpoint": WEBHOOK, "lane": "other", "status": "success"}, 9
    for name, labels, rate in _collector_counters():
        yield from _of_both(name, {"job": COLLECTOR, **labels}, rate)
        yield name, {"job": "another", "instance": "another:1", **labels}, rate * 7


def _of_both(name: str, labels: Labels, rate: float) -> Iterator[Series]:
    for instance, part in COLLECTORS.items():
        yield name, {"instance": instance, **labels}, rate * part


def _line(name: str, labels: Labels, value: float, at: int) -> str:
    pairs = ",".join(f'{key}="{text}"' for key, text in labels.items())
    return f"{name}{{{pairs}}} {value!r} {at}\n"


def _since(ago: int, labels: Labels) -> float:
    """How much came in the last seconds, in units of the rate."""
    if ago == _HASTE[0] and labels.get("instance") == FIRST:
        return ago + _HASTE[1]
    for (near, less), (far, more) in pairwise(_PROGRESS):
        if near <= ago <= far:
            return less + (more - less) * (ago - near) / (far - near)
    raise ValueError(ago)


_QUIET: tuple[Series, ...] = (
    (
        "webhook_requests_total",
        {"job": JOB, "instance": "1", "endpoint": WEBHOOK, "lane": "faq", "status": "success"},
        3,
    ),
    ("otelcol_receiver_accepted_spans", {"job": COLLECTOR, "receiver": "otlp", "transport": "grpc"}, 20),
    ("cache_misses_total", {"job": JOB, "cache_type": "catalog"}, 1),
)
_ONE_SIDED: tuple[Series, ...] = (
    *_buckets(
        "webhook_request_duration_seconds",
        {"job": JOB, "endpoint": WEBHOOK, "lane": "faq", "status": "success"},
        QUICK,
    ),
    ("cache_hits_total", {"job": JOB, "cache_type": "bundle"}, 1),
    ("lane_classification_total", {"job": JOB, "lane": "complex"}, 1),
    ("otelcol_receiver_accepted_spans", {"job": COLLECTOR, "receiver": "otlp", "transport": "grpc"}, 20),
    ("otelcol_exporter_enqueue_failed_spans", {"job": COLLECTOR, "exporter": "otlp_grpc"}, 5),
)


def _full(ago: int) -> Iterator[Series]:
    """As it was so many seconds before the time that is asked about."""
    yield from ((name, labels, rate * (_BEFORE - _since(ago, labels))) for name, labels, rate in _counting())
    yield from _levels()
    if ago <= 30:  # a process was started half a minute ago
        yield "mem0_write_queue_size", {"job": JOB, "instance": NEW_PROCESS}, 40
    if ago <= 30 or ago > 150:  # of another nothing was known for two minutes
        yield "mem0_write_queue_size", {"job": JOB, "instance": BACK_AGAIN}, 41


def _quiet(ago: int) -> Iterator[Series]:
    yield from ((name, labels, rate * (_BEFORE - ago)) for name, labels, rate in _QUIET)
    yield "mem0_write_queue_size", {"job": JOB, "instance": OLD_PROCESS}, 4


def _one_sided(ago: int) -> Iterator[Series]:
    yield from ((name, labels, rate * (_BEFORE - ago)) for name, labels, rate in _ONE_SIDED)
    yield "mem0_write_queue_size", {"job": JOB, "instance": OLD_PROCESS}, 4


def _still(_: int) -> Iterator[Series]:
    yield from ((name, labels, rate * _BEFORE) for name, labels, rate in _counting())
    yield from _levels()


@cache
def _counting() -> tuple[Series, ...]:
    return tuple(counting())


def _lines() -> Iterator[str]:
    for moment, series in {FULL: _full, QUIET: _quiet, ONE_SIDED: _one_sided, STILL: _still}.items():
        for ago in range(HALF_AN_HOUR, -1, -STEP):  # in the order of time
            yield from (_line(name, labels, value, moment - ago) for name, labels, value in series(ago))
    yield "# EOF\n"


@contextmanager
def filled(folder: Path) -> Iterator[Prometheus]:
    """One with all of this, and nothing else."""
    text, data = folder / "series.txt", folder / "data"
    with text.open("w", encoding="utf-8") as file:
        file.writelines(_lines())
    create(text, data, "the series made by hand", longest="2h")  # so that no two moments share a block
    with served(data, folder) as url, Prometheus(url) as prometheus:
        yield prometheus
