"""What each series of each panel shows of the filled Prometheus: its value, unit and labels, and what is wrong."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tools.base.prometheus import Prometheus
from tools.check.dashboard_samples import (
    CACHE,
    CLASSIFICATION,
    CONVERSATIONS,
    DATABASE,
    FIRST,
    FULL,
    HALF_AN_HOUR,
    HYDRATION,
    IDEMPOTENCY,
    JOB,
    M1,
    M5,
    MEMORY,
    NEVER,
    ONE_SIDED,
    QUICK,
    QUIET,
    REPLIES,
    STILL,
    quantile,
)
from tools.model.dashboard import Dashboard, Json, asked, field, legend, placeholders, substitute
from tools.model.expected import SHIPPED

GAP = math.nan
"""A quantile of nothing, which Grafana draws as a gap."""


@dataclass(frozen=True)
class Shown:
    """A series. `quiet` and `still`: its value at these times, None if there is none."""

    value: float
    unit: str
    labels: str = ""
    """Names of labels beside those of the legend."""
    quiet: float | None = None
    still: float | None = 0


def rate(value: float, unit: str, labels: str = "", quiet: float | None = None) -> Shown:
    """Events a second: 0 when nothing counts."""
    return Shown(value, unit, labels, quiet)


def took(value: float, labels: str = "") -> Shown:
    """A quantile of durations."""
    return Shown(value, "s", labels, still=GAP)


def share(value: float, labels: str = "") -> Shown:
    """A part of what there was, so nothing when there was nothing."""
    return Shown(value, "percentunit", labels, still=None)


def level(value: float, unit: str, labels: str = "", quiet: float | None = None) -> Shown:
    """A value that is no rate."""
    return Shown(value, unit, labels, quiet, value)


def durations(*parts: Mapping[float, float], alerted: bool) -> dict[str, Shown]:
    """P50, P95, P99, and the line that alerts compare."""
    found = {f"P{percent}": took(quantile(percent / 100, *parts)) for percent in (50, 95, 99)}
    return found | ({"P95 as alerted": took(quantile(0.95, *parts), "job")} if alerted else {})


def distribution(*parts: Mapping[float, float]) -> dict[str, Shown]:
    """How many took at most as long as each edge, in the last minute."""
    counts = {str(float(edge)): sum(part.get(edge, 0) for part in parts) * 60 for edge in SHIPPED.buckets}
    total, found = 0.0, {}
    for edge, count in counts.items():
        found[edge] = rate(total := total + count, "s")
    return found | {"+Inf": rate(total, "s")}


TALKS = tuple(CONVERSATIONS.values())
BY_LANE = {lane: [counts for (of, _), counts in CONVERSATIONS.items() if of == lane] for lane, _ in CONVERSATIONS}
TWO_LANES = (*BY_LANE["faq"], *BY_LANE["price"])
BUDGET = {
    "webhook-latency": level(0.625, "percentunit", "job __name__"),
    "webhook-success": level(-0.25, "percentunit", "job __name__"),
}
QUEUE = {"otlp_grpc": level(0.3, "percentunit"), "second": level(0.05, "percentunit")}
SCRAPED = ("otel-collector", "otel-collector-derived")
SPANS = "suffix:spans/s"

BACKEND: dict[int, dict[str, Shown]] = {
    9: {"": Shown(0, "s", "job", quiet=0)},
    10: {"": Shown(quantile(0.95, *TALKS), "s", "job", still=None)},
    11: {"": rate(10.9375 * M5, "reqps", "job", quiet=3)},
    12: {"": rate(0.75 * M5, "suffix:errors/s", "job", quiet=0)},
    13: {"": level(0.875, "percentunit", "job __name__")},
    14: {"": share(6 / 10, "job")},
    15: {"": level(-0.25, "percentunit", "job")},
    1: durations(*TALKS, alerted=True),
    2: {
        "bundle": share(3 / 4),
        "catalog": Shown(0, "percentunit", quiet=0, still=None),
        "other": share(1),
        "all": Shown(5 / 6.5, "percentunit", "job", quiet=0, still=None),
        "as alerted": level(0.875, "percentunit", "job __name__"),
    },
    3: {
        "cache: timeout": rate(0.5 * M1, "suffix:errors/s"),
        "database: connection": rate(0.25 * M1, "suffix:errors/s"),
        "all": rate(0.75 * M1, "suffix:errors/s", "job", quiet=0),
        "as alerted": rate(0.75 * M5, "suffix:errors/s", "job", quiet=0),
    },
    4: {
        "faq": rate(3, "reqps", quiet=3),
        "price": rate(2, "reqps"),
        "scheduling": rate(1, "reqps"),
        "complex": rate(0.75, "reqps"),
        "none": rate(4.1875, "reqps"),
        "fast path": share(6 / 10, "job"),
    },
    5: {
        **durations(HYDRATION, alerted=True),
        "patient queries": rate(2, "ops"),
        "history queries": rate(1, "ops"),
    },
    6: {
        "waiting": level(42, "short", "job", quiet=4),
        "success writes": rate(2, "suffix:writes/s"),
        "error writes": rate(0.5, "suffix:writes/s"),
        "dead writes": rate(0.25, "suffix:writes/s"),
    },
    7: {
        **{f"P95 {operation}": took(quantile(0.95, counts)) for operation, counts in DATABASE.items()},
        "success queries": rate(9, "ops"),
        "error queries": rate(0.5, "ops"),
    },
    8: {
        "P95": took(quantile(0.95, IDEMPOTENCY)),
        "P99": took(quantile(0.99, IDEMPOTENCY)),
        "P95 as alerted": took(quantile(0.95, IDEMPOTENCY), "job"),
        "duplicates": rate(0.75, "suffix:/s", "job", quiet=0),
    },
    20: BUDGET,
    21: BUDGET,
    22: {
        f"{slo}, {window}": level(burnt * times / budget, "suffix:×", "job")
        for slo, burnt, budget in (("webhook-latency", 0.1, 0.05), ("webhook-success", 0.02, 0.005))
        for times, window in enumerate(("1 h", "6 h", "1 d", "3 d"), 1)
    },
    30: distribution(*TALKS),
    31: {lane: took(quantile(0.95, *parts)) for lane, parts in BY_LANE.items()},
    32: {
        "idempotency": took(quantile(0.95, IDEMPOTENCY)),
        "hydration": took(quantile(0.95, HYDRATION)),
        "classification": took(quantile(0.95, *CLASSIFICATION.values())),
        "cache": took(quantile(0.95, *CACHE.values())),
        "database": took(quantile(0.95, *DATABASE.values())),
        "mem0 write": took(quantile(0.95, *MEMORY.values())),
        "reply": took(quantile(0.95, *REPLIES.values())),
    },
    33: {
        "success": rate(6.5, "reqps", quiet=3),
        "error": rate(0.25, "reqps"),
        "duplicate": rate(0.125, "reqps"),
        "rejected": rate(4, "reqps"),
        "ignored": rate(0.0625, "reqps"),
    },
    50: {
        "success": rate(5, "suffix:replies/s"),
        "error": rate(1.5, "suffix:replies/s"),
        "dead": rate(0.375, "suffix:replies/s"),
    },
    51: {
        "ignored": rate(0.625, "suffix:deliveries/s"),
        "rejected": rate(0.875, "suffix:deliveries/s"),
    },
    40: {
        "accepted": rate(25, SPANS, quiet=20),
        "stored": rate(20, SPANS),
        "refused": rate(3, SPANS, quiet=0),
        "lost": rate(1.5 + 0.75, SPANS, quiet=0),
    },
    41: QUEUE,
    42: {
        **{job: level(1, "short") for job in (*SCRAPED, "prometheus")},
        "alertmanager": level(0, "short"),  # one of its two is down
    },
}
COLLECTOR: dict[int, dict[str, Shown]] = {
    1: {"grpc": rate(20, SPANS, quiet=20), "http": rate(5, SPANS)},
    2: {"refused": rate(3, SPANS, quiet=0)},
    3: {
        "stored": rate(20, SPANS),
        "refused by the store": rate(1.5, SPANS, quiet=0),
        "queue full": rate(0.75, SPANS, quiet=0),
    },
    4: QUEUE,
    5: {FIRST: level(2e8, "bytes", "job __name__")},
    6: {
        "webhook_request_duration_seconds_bucket": level(10 * 2 * 20, "short"),
        "database_query_duration_seconds_bucket": level(3 * 2 * 20, "short"),
        "mem0_write_duration_seconds_bucket": level(2 * 2 * 20, "short"),
        "reply_send_duration_seconds_bucket": level(3 * 2 * 20, "short"),
        "classification_duration_seconds_bucket": level(2 * 2 * 20, "short"),
        "cache_operation_duration_seconds_bucket": level(2 * 2 * 20, "short"),
        "idempotency_check_duration_seconds_bucket": level(2 * 20, "short"),
        "context_hydration_duration_seconds_bucket": level(2 * 20, "short"),
    },
    7: {f"{job} {job}:1": level(0.125 * len(job), "s", "__name__") for job in SCRAPED},
    8: {f"{job} {job}:1": level(100 * len(job), "short", "__name__") for job in SCRAPED},
    9: {"queue_full": rate(1.5, SPANS), "refused": rate(0.25, SPANS)},
}
PANELS = {"healthcare-backend": BACKEND, "otel-collector": COLLECTOR}
# Others are in the way at the other times.
ONLY_QUIET = {("otel-collector", 6): {"mem0_write_queue_size": 1.0, "webhook_requests_total": 1.0}}
OF_ONE_SIDE: dict[tuple[str, int], dict[str, float]] = {
    ("healthcare-backend", 9): {"": 0},
    ("healthcare-backend", 1): {name: row.value for name, row in durations(QUICK, alerted=True).items()},
    ("healthcare-backend", 10): {"": quantile(0.95, QUICK)},
    ("healthcare-backend", 30): {name: row.value for name, row in distribution(QUICK).items()},
    ("healthcare-backend", 31): {"faq": quantile(0.95, QUICK)},
    ("healthcare-backend", 2): {"bundle": 1, "all": 1},
    ("healthcare-backend", 4): {"fast path": 0},
    **{("healthcare-backend", stat): {"": 0} for stat in (11, 12, 14)},
    ("healthcare-backend", 3): {"all": 0, "as alerted": 0},
    ("healthcare-backend", 6): {"waiting": 4},
    ("healthcare-backend", 8): {"duplicates": 0},
    ("healthcare-backend", 40): {"accepted": 20, "refused": 0, "lost": 5},
    ("otel-collector", 1): {"grpc": 20},
    ("otel-collector", 2): {"refused": 0},
    ("otel-collector", 6): {"webhook_request_duration_seconds_bucket": 2 * 20, "mem0_write_queue_size": 1},
    ("otel-collector", 3): {"refused by the store": 0, "queue full": 5},
}
CHOSEN = "faq|price"  # what Grafana makes of two chosen lanes
OF_TWO_LANES: dict[int, dict[str, Shown]] = {
    1: durations(*TWO_LANES, alerted=False) | {"P95 as alerted": BACKEND[1]["P95 as alerted"]},
    4: {name: BACKEND[4][name] for name in ("faq", "price", "fast path")},
    30: distribution(*TWO_LANES),
    31: {lane: BACKEND[31][lane] for lane in ("faq", "price")},
}

_ALERTS = {
    name: [(FULL, f"Alerts fire: {severity}", "which: the list of alerts")]
    for name, severity in (("Warnings", "warning"), ("Critical alerts", "critical"))
}
_RESTART = [(FULL, "The Collector started", "counters begin at 0")]  # one of two
ANNOTATIONS: dict[str, dict[str, list[tuple[int, str, str]]]] = {
    "healthcare-backend": {
        **_ALERTS,
        "Deploys and restarts of the service": [(FULL, "A process of the service started", JOB)],
        "Restarts of the Collector": _RESTART,
    },
    "otel-collector": {**_ALERTS, "Restarts of the Collector": _RESTART},
}
"""Time, title and text of what is marked; STILL, when the same alerts fire, is not asked about."""
_MARKED = 60  # seconds, the shortest step of marks
VARIABLES = {
    "job": {(FULL, "another"), (FULL, JOB), (QUIET, JOB)},
    "lane": {(FULL, lane) for lane in ("faq", "price", "scheduling", "complex", "none")} | {(QUIET, "faq")},
}


def wrong_panels(dashboard: Dashboard, prometheus: Prometheus, only: int | None = None) -> Iterator[str]:
    """What panels show and should not, or do not and should."""
    expected = PANELS[dashboard.uid]
    for panel in dashboard.shown:
        if panel["id"] in expected and only in (None, panel["id"]):
            rows = expected[panel["id"]]
            full = {name: row.value for name, row in rows.items()}
            quiet = {name: row.quiet for name, row in rows.items() if row.quiet is not None}
            still = {name: row.still for name, row in rows.items() if row.still is not None}
            two = OF_TWO_LANES.get(panel["id"], rows) if dashboard.uid == "healthcare-backend" else rows
            where = f"{dashboard.uid} {panel['id']}"
            for target in panel["targets"]:
                yield from _labels(where, target, rows, prometheus)
            yield from (
                f"{where} {name or 'the value'} is in {unit}, not in {rows[name].unit}"
                for name in rows
                if (unit := _unit(panel, name)) != rows[name].unit
            )
            quiet |= ONLY_QUIET.get((dashboard.uid, panel["id"]), {})
            of_two = {name: row.value for name, row in two.items()}
            for at, lane, wanted in (
                (FULL, ".*", full),
                (FULL, CHOSEN, of_two),
                (QUIET, ".*", quiet),
                (ONE_SIDED, ".*", OF_ONE_SIDE.get((dashboard.uid, panel["id"]), {})),
                (STILL, ".*", still),
                (NEVER, ".*", {}),
            ):
                found = list(_values(panel, prometheus, at, lane))
                if not _same(found, wanted):
                    given = f"{where} at {at - FULL} of the lanes {lane}"
                    yield f"{given} shows {sorted(found)}, not {sorted(wanted.items())}"


def _values(panel: Json, prometheus: Prometheus, at: int, lane: str) -> Iterator[tuple[str, float]]:
    for target in panel["targets"]:
        for one in prometheus.query(asked(target["expr"], JOB, lane), at):
            yield legend(target, one.labels), one.value


def _same(found: list[tuple[str, float]], wanted: Mapping[str, float]) -> bool:
    return sorted(name for name, _ in found) == sorted(wanted) and all(
        math.isclose(value, wanted[name], rel_tol=1e-9) or (math.isnan(value) and math.isnan(wanted[name]))
        for name, value in found
    )


def _labels(where: str, target: Json, rows: Mapping[str, Shown], prometheus: Prometheus) -> Iterator[str]:
    for one in prometheus.query(asked(target["expr"], JOB), FULL):
        name = legend(target, one.labels)
        further = set(one.labels) - placeholders(target)
        if name in rows and (further != set(rows[name].labels.split()) or one.labels.get("job", JOB) not in _JOBS):
            yield f"{where} {name}: {one.labels}"


_JOBS = {JOB, "prometheus", "alertmanager", *SCRAPED}


def _unit(panel: Json, name: str) -> str:
    if panel["type"] == "heatmap":
        return str(panel["options"]["yAxis"]["unit"])
    return str(field(panel, name)["unit"])


def wrong_annotations(dashboard: Dashboard, prometheus: Prometheus) -> Iterator[str]:
    """What is marked and should not be, or is not and should."""
    expected = ANNOTATIONS[dashboard.uid]
    if [one["name"] for one in dashboard.annotations] != list(expected):
        yield f"{dashboard.uid} marks other things"
    for one in dashboard.annotations:
        found = [
            (at, *(legend({"legendFormat": one[key]}, series.labels) for key in ("titleFormat", "textFormat")))
            for at in (FULL, QUIET, NEVER)
            for series in prometheus.query(substitute(one["expr"], {"job": JOB}, 0, _MARKED), at)
        ]
        if sorted(found) != expected[one["name"]]:
            yield f"{dashboard.uid} {one['name']}: {sorted(found)}"


def wrong_variables(dashboard: Dashboard, prometheus: Prometheus) -> Iterator[str]:
    """What a variable offers and should not, or does not and should."""
    for one in dashboard.variables:
        if one["type"] == "query":
            query = asked(one["query"]["query"], JOB).removeprefix("label_values(").removesuffix(")")
            selector, _, label = query.rpartition(", ")
            found = {
                (at, value)
                for at in (FULL, QUIET, NEVER)
                for value in prometheus.label_values(label, selector, at - HALF_AN_HOUR, at)
            }
            if found != VARIABLES[one["name"]] or one["definition"] != one["query"]["query"]:
                yield f"{dashboard.uid} {one['name']}: {sorted(found)}"
