"""The answer: what explains an alert, or a stretch of time, first; then the table, a trace and the runbook."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from tools.base.clock import zone
from tools.why import pipeline, service
from tools.why.compare import Comparison, Window
from tools.why.finding import Finder, Finding, Row, a_second, row
from tools.why.slow import REQUEST, STEPS, Slow

MORE = 3  # other findings that are named
NOTHING = "Nothing stands out: no step is slower, no errors became more, the pipeline is well"


def finders(signal: str, stores: Sequence[str]) -> tuple[Finder, ...]:
    """What explains alerts with this label `signal`, the likeliest first; without one what explains anything."""
    slow = Slow(REQUEST, stores)
    if signal in STEPS:
        return (Slow(STEPS[signal], stores), slow)
    found: dict[str, tuple[Finder, ...]] = {
        "": (
            pipeline.collector,
            pipeline.service,
            slow,
            service.errors,
            service.cache,
            service.memories,
            service.replies,
            service.duplicates,
            service.traffic,
            service.kept,
            pipeline.lost,
            pipeline.store,
            pipeline.refusing,
            pipeline.derivation,
            pipeline.cardinality,
            pipeline.buckets,
            pipeline.targets,
            pipeline.rules,
            pipeline.of_prometheus,
            pipeline.of_alertmanager,
            pipeline.notifying,
        ),
        "webhook-latency": (slow,),
        "slo-webhook-latency": (slow,),
        "slo-webhook-success": (service.errors,),
        "error-rate": (service.errors,),
        "cache-hit-rate": (service.cache,),
        "mem0-queue": (service.memories,),
        "mem0-writes": (service.memories,),
        "mem0-dead": (service.memories,),
        "outbox": (service.memories, service.replies),
        "replies": (service.replies,),
        "replies-dead": (service.replies,),
        "deliveries-kept": (service.kept,),
        "duplicates": (service.duplicates,),
        "webhook-rejected": (service.traffic,),
        "throughput-high": (service.traffic,),
        "throughput-low": (service.silence, pipeline.service),
        "fast-path": (service.lanes,),
        "service-telemetry": (pipeline.service,),
        "collector": (pipeline.collector,),
        "collector-refusing": (pipeline.refusing,),
        "collector-memory": (pipeline.refusing,),
        "collector-dropping": (pipeline.store,),
        "collector-exporting": (pipeline.store,),
        "collector-queue": (pipeline.store,),
        "cardinality": (pipeline.targets, pipeline.cardinality),
        "derivation": (pipeline.derivation,),
        "spans-lost": (pipeline.lost,),
        "slo-source": (pipeline.buckets, pipeline.collector),
        "target": (pipeline.targets,),
        "prometheus-rules": (pipeline.rules,),
        "prometheus-config": (pipeline.of_prometheus,),
        "alertmanager-config": (pipeline.of_alertmanager,),
        "notifications": (pipeline.notifying, pipeline.targets),
        "watchdog": (pipeline.targets, pipeline.notifying),
    }
    return found.get(signal, found[""])


@dataclass(frozen=True)
class Answer:
    """What was found, the cause first."""

    before: Window
    during: Window
    findings: tuple[Finding, ...]
    beside: tuple[Row, ...]
    restarts: tuple[str, ...]

    @property
    def first(self) -> str:
        """The sentence that names the cause."""
        if self.findings:
            return self.findings[0].sentence
        return f"{NOTHING}, but {' and '.join(self.restarts)} began anew" if self.restarts else NOTHING

    def markdown(self, runbook: str = "") -> str:
        """Ten lines to read, or to paste into an incident."""
        lines = [f"**{self.first}.**", "", f"{self._restarted()}.", ""]
        lines += [f"- also: {one.sentence}" for one in self.findings[1 : 1 + MORE]] + [""] * bool(self.findings[1:])
        rows = [line for one in self.findings[:1] for line in one.rows] + list(self.beside)
        lines += ["| | before | during |", "|---|--:|--:|"]
        lines += [f"| {one.what} | {one.before} | {one.during} |" for one in dict.fromkeys(rows)]
        lines += ["", f"before: {_times(self.before)}; during: {_times(self.during)}"]
        lines += [f"trace: `make trace ID={one}`" for finding in self.findings for one in finding.traces[:1]][:1]
        lines += [f"runbook: {runbook}"] * bool(runbook)
        return "\n".join(lines) + "\n"

    def _restarted(self) -> str:
        return f"Started anew meanwhile: {', '.join(self.restarts)}" if self.restarts else "Nothing was started anew"


def explain(now: Comparison, signal: str, stores: Sequence[str], *, widely: bool = True) -> Answer:
    """Compare both stretches. Raises PrometheusError, ToolError.

    Args:
        now: both stretches.
        signal: the alert's label; empty: of nothing in particular.
        stores: where traces are asked for.
        widely: look at everything beside what explains the alert, too.
    """
    asked = finders(signal, stores)
    others = finders("", stores) if widely and signal else ()
    found = [one for finder in asked for one in finder(now.of_an_alert() if signal else now)]
    found += [one for finder in others for one in finder(now)]
    findings = {one.sentence: one for one in found}  # what explains the alert is among the others, too
    return Answer(now.before, now.during, tuple(findings.values()), _beside(now), tuple(_restarts(now)))


def _beside(now: Comparison) -> tuple[Row, ...]:
    requests, errors = now.rate("webhook_requests_total"), now.rate("errors_total")
    return (row("requests", requests, a_second), row("errors", errors, a_second))


def _restarts(now: Comparison) -> Iterable[str]:
    """Processes that began during the incident."""
    for what, uptime in (
        ("the Collector", "max(last_over_time(otelcol_process_uptime[window]))"),
        ("Prometheus", 'time() - max(last_over_time(process_start_time_seconds{job="prometheus"}[window]))'),
        ("Alertmanager", 'time() - max(last_over_time(process_start_time_seconds{job="alertmanager"}[window]))'),
    ):
        age = now.change(uptime, missing=float("inf")).during
        if age < now.during.seconds:
            yield what
    processes = now.changes("count by (instance) (last_over_time(mem0_write_queue_size[window]))", "instance")
    if any(change.during and not change.before for change in processes.values()) and any(
        change.before for change in processes.values()
    ):
        yield "the service"


def _times(window: Window) -> str:
    """In the clinic's time, with its offset."""
    start, end = (datetime.fromtimestamp(at, zone()) for at in (window.start, window.end))
    date = "" if start.date() == end.date() == datetime.now(zone()).date() else f"{start:%Y-%m-%d} "
    return f"{date}{start:%H:%M:%S} to {end:%H:%M:%S} ({start:%z})"
