"""What the dashboards promise: titles, lines, colours, and which alerts a panel is about.

Keep in step: prometheus/*.yaml and the contract's targets, whose numbers LINES has; dashboard_series.py compares them.
"""

import re
import tomllib
from typing import NamedTuple

from tools.base.files import ROOT
from tools.model.dashboard import Json
from tools.model.rules import rules_of, shipped_rules

TITLES = [
    "Request Latency (P50, P95, P99) · lane: $lane",
    "Cache Hit Rate",
    "Error Rate",
    "Throughput & Lane Distribution · lane: $lane",
    "Context Hydration Performance",
    "mem0 Write Queue & Operations",
    "Database Query Performance",
    "Idempotency Check Performance",
]
PAGES = {"healthcare-backend": "Healthcare Backend", "otel-collector": "OpenTelemetry Collector"}
SCHEMA = 42
COLUMNS = 24
UNITS = {"s", "reqps", "ops", "percentunit", "short", "bytes"}  # Grafana's; `suffix:` takes any text, and adds a space
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
TYPES = {"row", "stat", "alertlist", "timeseries", "heatmap"}
NORMAL = {"drawStyle": "line", "showPoints": "never", "spanNulls": False}
BURN = "ErrorBudgetBurn1h ErrorBudgetBurn6h ErrorBudgetBurn1d ErrorBudgetBurn3d"
ABOUT = {
    "healthcare-backend": {
        11: "LowThroughput",
        15: BURN,
        20: BURN,
        21: "ErrorBudgetBurn3d",
        30: "HighWebhookLatency CriticalWebhookLatency",
        32: "SlowIdempotencyCheck SlowContextHydration SlowDatabaseQueries",
        33: "WebhookMostlyRejected",
        50: "RepliesFailing",
        40: "OtelCollectorRefusing OtelCollectorDroppingSpans OtelCollectorExporterFailing OtelCollectorExporterStalled"
        " DerivedMetricsStalled",
        42: "OtelCollectorDown TargetDown PrometheusRuleFailures PrometheusConfigReloadFailed"
        " PrometheusNotConnectedToAlertmanagers AlertmanagerNotificationsFailing AlertmanagerConfigReloadFailed",
    },
    "otel-collector": {
        1: "DerivedMetricsStalled",
        2: "OtelCollectorRefusing",
        3: "OtelCollectorExporterFailing OtelCollectorExporterStalled OtelCollectorDroppingSpans",
        6: "TelemetryCardinalityOverflow PrometheusSampleLimitExceeded",
        7: "OtelCollectorDown",
        8: "PrometheusSampleLimitExceeded",
        9: "TelemetrySpansLost",
    },
}
"""Alerts that a panel names though it neither draws their lines nor is where they lead."""
LISTED: Json = {
    "datasource": "",  # Grafana compares it with names and puts no variable in; empty, alerts of all sources are listed
    "alertName": "",
    "dashboardAlerts": False,
    "viewMode": "list",
    "stateFilter": {
        **dict.fromkeys(("firing", "error"), True),
        **dict.fromkeys(("pending", "normal", "noData", "recovering"), False),
    },
}
LISTS = {"healthcare-backend": {16: '{severity="critical"}', 17: '{severity=~"warning|info"}'}, "otel-collector": {}}
"""The lists of alerts, from top to bottom: critical ones are first by their place, as Grafana sorts by no severity."""
LIFE = 'mem0_write_queue_size{job=~"$job"}'
"""The sign of life of the service and all between: gone at once when a scrape fails, unlike a rate."""
TILES: dict[str, tuple[int, ...]] = {"healthcare-backend": (*range(10, 16), 20), "otel-collector": ()}
UNKNOWN = {"options": {"match": "null", "result": {"color": "#6e6e6e", "index": 9}}, "type": "special"}
"""A tile that knows nothing is grey."""
MARKS = {"critical": "red", "warning": "orange"}
"""Colours of the times while alerts fire: a warning may last for hours, and nothing else is red then."""
OVERSPENT = [
    {"options": {"from": -1_000_000, "result": {"index": 0, "text": "below -100%"}, "to": -1}, "type": "range"}
]
"""A young budget is soon overspent many times, which says nothing more. Grafana 9.4 takes no open end for -∞."""
UP_AND_DOWN = [{"options": {"0": {"index": 0, "text": "down"}, "1": {"index": 1, "text": "up"}}, "type": "value"}]
TEXTS = {
    ("healthcare-backend", 15): OVERSPENT,
    ("healthcare-backend", 20): OVERSPENT,
    ("healthcare-backend", 42): UP_AND_DOWN,
}
"""What tiles say in place of values."""
COLOUR = re.compile(r"((super-light|light|semi-dark|dark)-)?(blue|green|orange|purple|red|yellow)|text|#[0-9a-f]{6}")
OVERRIDDEN = (
    {"color", "unit", "min", "max", "thresholds"}
    | {
        f"custom.{key}"
        for key in ("axisPlacement", "axisSoftMax", "fillOpacity", "lineStyle", "lineWidth", "scaleDistribution")
    }
    | {"custom.stacking", "custom.thresholdsStyle"}
)
ANY_COLOUR = {
    ("healthcare-backend", 5),
    ("healthcare-backend", 7),
    ("healthcare-backend", 32),
    ("healthcare-backend", 41),
}
"""Where series have the palette's colours, as nobody knows which there will be; in the Collector's dashboard, too."""
NOT_NAMES = {"dashboard", "__inputs", "__requires", "id", "version", "iteration", "elements", "layout", "apiVersion"}
RULES = [rule for document in shipped_rules().values() for rule in rules_of(document)]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RUNBOOKS: str = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["Runbooks"]
"""Where they can be read from anywhere: rules, so notifications and Grafana's lists, and panels link them there."""
VARIABLES = {
    "datasource": {
        "type": "datasource",
        "query": "prometheus",
        "multi": False,
        "includeAll": False,
        "hide": 2,
        "refresh": 1,
        "regex": "",
    },
    "job": {"type": "query", "hide": 0, "multi": False, "includeAll": False, "refresh": 2, "regex": ""},
    "lane": {
        "type": "query",
        "hide": 0,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "refresh": 2,
        "regex": "",
    },
}


class Line(NamedTuple):
    """A threshold: where, in which colour, what the description calls it, and whose number it is."""

    value: float
    colour: str
    text: str
    source: str
    """An alert, a key of prometheus.yml, a metric of the contract for its target; empty: promised, or no alert's."""


_LATENCY = (
    Line(0.5, "green", "500 ms", "webhook_request_duration_seconds"),
    Line(2, "orange", "2 s (warning)", "HighWebhookLatency"),
    Line(5, "red", "5 s (critical)", "CriticalWebhookLatency"),
)
_HITS = (
    Line(0.5, "dark-red", "50% (critical)", "CriticalCacheHitRate"),
    Line(0.8, "red", "80% (warning)", "LowCacheHitRate"),  # documented as the red line
    Line(0.95, "green", "95%", "cache_hits_total"),
)
_ERRORS = (
    Line(0.01, "green", "0.01", "errors_total"),
    Line(0.1, "orange", "0.1 (warning)", "HighErrorRate"),
    Line(1, "red", "1 (critical)", "CriticalErrorRate"),
)
_FAST_PATH = (
    Line(0.5, "red", "50% (info)", "LowFastPathCoverage"),
    Line(0.7, "green", "70%", "lane_classification_total"),
)
_BUDGET = (Line(0, "orange", "0%", ""), Line(0.25, "yellow", "25%", ""), Line(0.5, "green", "50%", ""))
_QUEUE = (Line(0.8, "orange", "80% (warning)", "OtelCollectorQueueNearlyFull"),)


def _in(colours: str, *lines: Line) -> tuple[Line, ...]:
    """The same lines in other colours, for a stat: its colour is that of the value, not of the line."""
    return tuple(line._replace(colour=colour) for line, colour in zip(lines, colours.split(), strict=True))


LINES: dict[str, dict[tuple[int, str], tuple[Line, ...]]] = {
    "healthcare-backend": {
        (9, ""): (Line(30, "orange", "30 s", ""), Line(120, "red", "2 min", "")),
        (10, ""): _in("yellow orange red", *_LATENCY),
        (11, ""): (Line(100, "orange", "100 requests a second (info)", "HighThroughput"),),
        (12, ""): _in("yellow orange red", *_ERRORS),
        (13, ""): _in("orange yellow green", *_HITS),
        (14, ""): _in("yellow green", *_FAST_PATH),
        (15, ""): _BUDGET,
        (1, ""): _LATENCY,
        (2, ""): _HITS,
        (3, ""): _ERRORS,
        (5, ""): (
            Line(0.1, "green", "100 ms", "context_hydration_duration_seconds"),
            Line(0.2, "orange", "200 ms (warning)", "SlowContextHydration"),
        ),
        (6, ""): (Line(100, "orange", "100 waiting (warning)", "HighMem0QueueSize"),),
        (7, ""): (Line(1, "orange", "1 s (warning)", "SlowDatabaseQueries"),),
        (8, ""): (
            Line(0.001, "green", "1 ms", "idempotency_check_duration_seconds"),
            Line(0.01, "orange", "10 ms (info)", "SlowIdempotencyCheck"),
        ),
        (20, ""): _BUDGET,
        (21, ""): (Line(0, "red", "0%", ""),),
        (22, ""): (
            Line(1, "yellow", "1 (warning, 3 d)", "ErrorBudgetBurn3d"),
            Line(3, "orange", "3 (warning, 1 d)", "ErrorBudgetBurn1d"),
            Line(6, "red", "6 (critical, 6 h)", "ErrorBudgetBurn6h"),
            Line(14.4, "dark-red", "14.4 (critical, 1 h)", "ErrorBudgetBurn1h"),
        ),
        (31, ""): _LATENCY,
        (41, ""): _QUEUE,
        (42, ""): (Line(1, "green", "", ""),),
    },
    "otel-collector": {
        (4, ""): _QUEUE,
        (5, ""): (Line(251658240, "orange", "240 MiB (warning", "OtelCollectorMemoryHigh"),),
        (7, ""): (Line(5, "red", "5 s", "scrape_timeout"),),
        (8, ""): (Line(50000, "red", "50 000", "sample_limit"),),
    },
}
BELOW_THE_FIRST = {
    9: "green",
    10: "green",
    11: "blue",
    12: "green",
    13: "red",
    14: "red",
    15: "red",
    20: "red",
    42: "red",
}
"""The colour of a stat below its first line."""
SMALL = {("otel-collector", number) for number in (2, 7, 8, 9)}
"""Whose axes begin small: normal is far below the line, or 0, whose axis Grafana ends at 100."""
BELOW = {"displayMode": "list", "placement": "bottom", "calcs": []}
LEGENDS = {
    ("healthcare-backend", 3): {"displayMode": "table", "placement": "right", "calcs": ["max"]},
    ("otel-collector", 6): {"displayMode": "table", "placement": "right", "calcs": ["lastNotNull"]},
}
"""At the right, with one column: two of them take half of the panel."""
