"""What can go wrong, and which alerts have to see it. Faults that do not disturb each other stand in one round."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx

from tools.base.errors import ToolError
from tools.drill.actions import (
    BROKEN_RULE,
    HUNGRY,
    OTHER_BUCKETS,
    SMALL_QUEUE,
    burn,
    failing_receiver,
    fill_memory,
    flood,
    keep_one,
    limit_target,
    no_alertmanager,
    rename_service,
    slow,
    slow_database,
)
from tools.drill.scene import Scene
from tools.drill.traffic import Rates


def _nothing(_: Scene) -> None:
    """Some faults are made by what is sent alone."""


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    name: str
    what: str
    """In a line."""
    alerts: tuple[str, ...]
    cause: str
    """What `make why` has to say of each of them first, as a regular expression."""
    rates: Rates = field(default_factory=lambda: {"known": 2.0})
    """What patients send meanwhile."""
    prepare: Callable[[Scene], None] = _nothing
    """Says what is to be configured or started anew."""
    begin: Callable[[Scene], None] = _nothing
    again: Callable[[Scene], None] = _nothing
    """Is done every second while the fault lasts."""
    not_notified: str = ""
    """Why no notification can arrive; empty: one has to."""


ROUNDS: tuple[tuple[Fault, ...], ...] = (
    # Burns in rising order: the long windows of one still hold what was slow in those before it.
    (
        Fault(
            "slow-some",
            "14% of the messages take 0.7 s",
            ("ErrorBudgetBurn3d",),
            r"in PostgreSQL \([^)]*`insert`",
            begin=burn(14),
        ),
        Fault(
            "bad-target",
            "Alertmanager shows more series than Prometheus may take from it",
            ("TargetDown", "PrometheusSampleLimitExceeded"),
            "^Alertmanager shows more series",
            prepare=lambda scene: scene.prometheus.append(limit_target),
        ),
        Fault(
            "bad-rule",
            "a rule is loaded that cannot be evaluated",
            ("PrometheusRuleFailures",),
            "^Prometheus cannot evaluate",
            prepare=lambda scene: scene.prometheus.append(
                lambda config: config["rule_files"].append(str(scene.rule_file(BROKEN_RULE)))
            ),
        ),
        Fault(
            "unknown-numbers",
            "Evolution says that WhatsApp does not know the patients' numbers",
            ("ReplyGivenUp",),
            "^Evolution does not send",
            begin=lambda scene: scene.play(send_text={"unknown_number": True}),
        ),
        Fault(
            "unknown-event",
            "one delivery is kept, because nobody understands it",
            ("DeliveriesKept",),
            "^Evolution delivers what nobody here understands",
            begin=keep_one,
        ),
    ),
    (
        Fault(
            "slow-many",
            "28% of the messages take 0.7 s",
            ("ErrorBudgetBurn1d",),
            r"in PostgreSQL \([^)]*`insert`",
            begin=burn(28),
        ),
        Fault(
            "bad-configuration",
            "Prometheus is told to load a file that is no configuration",
            ("PrometheusConfigReloadFailed",),
            "^Prometheus was told to load",
            begin=lambda scene: scene.break_configuration("prometheus"),
        ),
        Fault(
            "bad-routes",
            "Alertmanager is told to load a file that is no configuration",
            ("AlertmanagerConfigReloadFailed",),
            "^Alertmanager was told to load",
            begin=lambda scene: scene.break_configuration("alertmanager"),
        ),
    ),
    (
        Fault(
            "slow-most",
            "65% of the messages take 0.7 s",
            ("ErrorBudgetBurn6h",),
            r"in PostgreSQL \([^)]*`insert`",
            begin=burn(65),
        ),
        Fault(
            "new-patients",
            "three messages in 5 are of patients who never wrote before",
            ("LowCacheHitRate",),
            "^Redis answers.*patients who are new",
            rates={"known": 2.0, "new": 3.0},
        ),
        Fault(
            "bad-receiver",
            "Alertmanager notifies an address that answers 404 as well",
            ("AlertmanagerNotificationsFailing",),
            "^Alertmanager cannot notify by `webhook`",
            prepare=lambda scene: scene.alertmanager.append(failing_receiver),
        ),
    ),
    (
        Fault(
            "slower-database",
            "storing a message takes 2.5 s",
            ("HighWebhookLatency", "ErrorBudgetBurn1h"),
            r"in PostgreSQL \([^)]*`insert`",
            begin=lambda scene: scene.sql(*slow("messages", 2.5)),
        ),
        Fault(
            "hard-questions",
            "most messages are for a person",
            ("LowFastPathCoverage",),
            "^Patients ask",
            rates={"complex": 2.0},
        ),
        Fault(
            "evolution-away",
            "Evolution answers 503 to every reply",
            ("RepliesFailing",),
            "^Evolution does not send.*`unavailable`",
            begin=lambda scene: scene.play(send_text={"status": 503}),
        ),
    ),
    (
        Fault(
            "slow-database",
            "storing a message and its jobs takes 5.5 s, a new patient 0.4 s",
            ("CriticalWebhookLatency", "SlowDatabaseQueries", "SlowIdempotencyCheck", "SlowContextHydration"),
            "PostgreSQL",
            rates={"new": 1.4},
            begin=slow_database,
        ),
    ),
    (
        Fault(
            "database-away",
            "PostgreSQL is stopped",
            ("CriticalErrorRate",),
            "^PostgreSQL fails",
            rates={"known": 4.0},
            begin=lambda scene: scene.stack.stop("postgres"),
        ),
    ),
    (
        Fault(
            "cache-hung",
            "Redis takes commands and does not answer",
            ("CriticalCacheHitRate",),
            "^Redis fails",
            begin=lambda scene: scene.pause("redis"),
        ),
        Fault(
            "worker-away",
            "the worker is stopped",
            ("HighMem0QueueSize", "OutboxStalled"),
            "^The worker does nothing",
            rates={"known": 6.0},
            begin=lambda scene: scene.stack.stop("worker"),
        ),
    ),
    (
        Fault(
            "mem0-refused",
            "the embeddings that mem0 needs are answered with 400",
            ("Mem0WriteFailures", "MemoriesGivenUp", "HighErrorRate"),
            "^mem0 fails",
            rates={"known": 0.6},
            begin=lambda scene: scene.play(embeddings={"status": 400}),
        ),
    ),
    (
        Fault(
            "storm",
            "150 requests a second: most with a wrong secret, 6 the same message again",
            ("HighThroughput", "HighDuplicateMessageRate", "WebhookMostlyRejected"),
            "secret|delivers messages again",
            rates={"rejected": 145.0, "duplicate": 6.0},
        ),
    ),
    (
        Fault("silence", "nobody writes", ("LowThroughput",), "^Evolution delivers hardly anything", rates={}),
        Fault(
            "renamed-service",
            "spans come from a service that the Collector does not know",
            ("DerivedMetricsStalled",),
            "^The Collector derives nothing.*whose name it does not know",
            rates={},
            again=rename_service,
        ),
    ),
    (
        Fault(
            "service-hung",
            "the service stands still",
            ("ServiceTelemetryAbsent",),
            "^The service sends nothing",
            rates={},
            begin=lambda scene: scene.pause("service"),
        ),
    ),
    (
        Fault(
            "collector-hung",
            "the Collector stands still",
            ("OtelCollectorDown",),
            "^The Collector cannot be scraped",
            begin=lambda scene: scene.pause("otel-collector"),
        ),
    ),
    (
        Fault(
            "store-hung",
            "the trace store stands still, and the Collector's queue is small",
            ("OtelCollectorExporterStalled", "OtelCollectorQueueNearlyFull", "OtelCollectorDroppingSpans"),
            "^The trace store takes too little",
            rates={"known": 8.0},
            prepare=lambda scene: scene.lay_over_collector(SMALL_QUEUE),
            begin=lambda scene: scene.pause(scene.stack.store),
        ),
        Fault(
            "other-buckets",
            "the Collector runs without the bucket of 500 ms",
            ("LatencySliBucketMissing",),
            "^The Collector runs with other buckets",
            prepare=lambda scene: scene.lay_over_collector(OTHER_BUCKETS),
        ),
        Fault(
            "label-flood",
            "more label sets come than the Collector holds",
            ("TelemetryCardinalityOverflow",),
            "^The Collector holds no more label sets",
            prepare=lambda scene: scene.lay_over_collector(),  # only a restart forgets them
            begin=flood,
        ),
    ),
    (
        Fault(
            "store-refuses",
            "the trace store refuses every span for good",
            ("OtelCollectorExporterFailing",),
            "^The trace store refuses",
            prepare=lambda scene: scene.change("otel-collector", {"TRACE_STORE_ENDPOINT": scene.refuser}),
        ),
        Fault(
            "hungry-collector",
            "the Collector frees no memory, and 300 MiB come in",
            ("OtelCollectorMemoryHigh",),
            "^The Collector holds .* of memory",
            prepare=lambda scene: scene.change("otel-collector", HUNGRY),
            again=fill_memory,
        ),
        Fault(
            "spans-refused",
            "what the service sends its spans to refuses them for good",
            ("TelemetrySpansLost",),
            "^The service loses spans.*`refused`",
            prepare=lambda scene: scene.change("service", {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{scene.refuser}"}),
        ),
    ),
    (
        Fault(
            "collector-refuses",
            "the Collector may use 10 MiB, less than it needs",
            ("OtelCollectorRefusing",),
            "^The Collector refuses",
            prepare=lambda scene: scene.change("otel-collector", {"MEMORY_LIMIT_MIB": "10"}),
        ),
    ),
    (
        Fault(
            "no-alertmanager",
            "Prometheus' configuration names no Alertmanager",
            ("PrometheusNotConnectedToAlertmanagers",),
            "^Prometheus knows no Alertmanager",
            prepare=lambda scene: scene.prometheus.append(no_alertmanager),
            not_notified="Prometheus knows nobody to tell",
        ),
    ),
    (
        Fault(
            "alertmanager-hung",
            "Alertmanager stands still, so the heartbeat stops",
            ("Watchdog",),
            "^Alertmanager cannot be scraped",
            begin=lambda scene: scene.pause("alertmanager"),
        ),
    ),
)

FAULTS = {alert: fault for faults in ROUNDS for fault in faults for alert in fault.alerts}
"""The fault that raises each alert."""


def together(faults: tuple[Fault, ...]) -> Mapping[Any, float]:
    """What is sent while these faults last."""
    rates: dict[Any, float] = {}
    for fault in faults:
        for stream, rate in fault.rates.items():
            rates[stream] = max(rate, rates.get(stream, 0.0))
    return rates


def repeat(faults: tuple[Fault, ...], scene: Scene) -> None:
    """What the faults do every second."""
    for fault in faults:
        try:
            fault.again(scene)
        except (
            grpc.RpcError,
            httpx.HTTPError,
            ToolError,
        ):  # what it is done to may be away; the watch tells what came of it
            continue
