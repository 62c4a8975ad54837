"""A clinic's day, played from `prometheus/history/day.yaml`: requests one by one, and the series that they leave."""

import datetime as dt
import hashlib
import json
import math
import random
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tools.base.files import Sources
from tools.model.contract import JOB, Contract
from tools.model.contract import load as load_contract
from tools.stack.history_server import create
from tools.stack.programs import Report, cache_folder, made_once

PATH = "prometheus/history/day.yaml"
STEP = 15  # seconds between two scrapes
DERIVED, OWN = "otel-collector:8889", "otel-collector:8888"
PORTS = {"otel-collector": OWN, "otel-collector-derived": DERIVED}
PORTS |= {"prometheus": "prometheus:9090", "alertmanager": "alertmanager:9093"}

Labels = tuple[tuple[str, str], ...]


class Histogram:
    """What one histogram shows: cumulative buckets, sum and count."""

    def __init__(self, name: str, labels: Labels, edges: list[float]) -> None:
        self._edges = edges
        self._counts = [0] * (len(edges) + 1)
        self._sum = 0.0
        ends = [repr(edge) for edge in edges] + ["+Inf"]
        self._heads = [f"{name}_bucket{_braces((*labels, ('le', end)))} " for end in ends]
        self._tails = [f"{name}_sum{_braces(labels)} ", f"{name}_count{_braces(labels)} "]
        self._shown: list[str] = []

    def observe(self, seconds: float) -> None:
        """One event."""
        self._counts[bisect_left(self._edges, seconds)] += 1
        self._sum += seconds
        self._shown = []

    def lines(self) -> list[str]:
        """Name, labels and value of each sample."""
        if not self._shown:
            total = 0
            for head, count in zip(self._heads, self._counts, strict=True):
                total += count
                self._shown.append(f"{head}{total}")
            self._shown += [f"{self._tails[0]}{self._sum:.6f}", f"{self._tails[1]}{total}"]
        return self._shown


class Series:
    """All that the Collector shows at one moment; a series is there from its first event on."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self.clear()

    def clear(self) -> None:
        """As after a restart."""
        self._counters: dict[tuple[str, Labels], int] = {}
        self._histograms: dict[tuple[str, Labels], Histogram] = {}

    def count(self, name: str, number: int = 1, /, **labels: str) -> None:
        """Events of a documented counter."""
        key = (name, self._labels(name, labels))
        self._counters[key] = self._counters.get(key, 0) + number

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """An event of a documented histogram."""
        key = (name, self._labels(name, labels))
        if key not in self._histograms:
            self._histograms[key] = Histogram(*key, self._contract.buckets)
        self._histograms[key].observe(seconds)

    def lines(self) -> Iterator[str]:
        """Name, labels and value of each sample."""
        for (name, labels), number in self._counters.items():
            yield f"{name}{_braces(labels)} {number}"
        for histogram in self._histograms.values():
            yield from histogram.lines()

    def _labels(self, name: str, labels: dict[str, str]) -> Labels:
        closed = self._contract.by_name[name].labels
        if closed.keys() != labels.keys() or any(value not in closed[label] for label, value in labels.items()):
            raise ValueError(f"{name} has no labels {labels}")
        return (("instance", DERIVED), ("job", JOB), *labels.items())


class Day:
    """The script, and the state of what it plays."""

    def __init__(self, sources: Sources) -> None:
        self.script: dict[str, Any] = sources.yaml(PATH).data
        self._contract = load_contract(sources)
        self._random = random.Random(self.script["seed"])  # noqa: S311
        self._outgoing = random.Random(self.script["seed"])  # noqa: S311 - replies draw no number of the others'
        self._series = Series(self._contract)
        self._spans = self._queue = self._generation = self._uptime = self._due = 0
        midnight = dt.datetime.combine(self.script["date"], dt.time(), dt.UTC)
        self.start = int(midnight.timestamp()) - self.script["utc_offset"] * 3600
        self.end = self.start + 24 * 3600
        self.first = self.start - self.script["warm_up_hours"] * 3600

    def text(self) -> Iterator[str]:
        """The day as OpenMetrics, a part a scrape."""
        for now in range(self.first, self.end + STEP, STEP):
            state = self.state(now)
            if "collector" in state["restarts"]:
                self._series.clear()
                self._spans = self._uptime = 0
            self._uptime += STEP
            self._generation += "service" in state["restarts"]
            self._requests(now, state)
            self._others(state)
            self._replies(state)
            end = f" {now}\n"
            yield end.join([*self._scraped(state), ""])
        yield "# EOF\n"

    def state(self, now: int) -> dict[str, Any]:
        """What holds at a time: the usual, with the incidents of that time laid over."""
        state = {**self.script["usual"], "restarts": []}
        minute = (now - self.start) / 60
        for incident in self.script["incidents"]:
            began = _began(incident, minute)
            if began is None:
                continue
            for key in state.keys() & incident.keys():
                state[key] = {**state[key], **incident[key]} if isinstance(state[key], dict) else incident[key]
            if (minute - began) * 60 >= STEP:  # a restart happens once
                state["restarts"] = []
        return state

    def _requests(self, now: int, state: Mapping[str, Any]) -> None:
        hours = self.script["requests_per_minute"]
        hour = (now - self.start) / 3600 % 24
        before, after = hours[int(hour)], hours[(int(hour) + 1) % 24]
        mean = (before + (after - before) * (hour % 1)) / 60 * STEP
        for _ in range(self._poisson(mean)):
            self._request(state)

    def _request(self, state: Mapping[str, Any]) -> None:
        draw, series = self._random, self._series
        lanes = self.script["lanes"]
        lane = draw.choices(list(lanes), [one["share"] for one in lanes.values()])[0]
        status = "error" if draw.random() < state["request_fails"] else "success"
        self._webhook(lane, status, self._seconds(state, "webhook", lane))
        series.observe("idempotency_check_duration_seconds", self._seconds(state, "idempotency"))
        for cache_type, share in state["hits"].items():
            hit = draw.random() < share
            series.count("cache_hits_total" if hit else "cache_misses_total", cache_type=cache_type)
            for operation in ("get",) if hit else ("get", "set"):
                seconds = self._seconds(state, "cache")
                series.observe("cache_operation_duration_seconds", seconds, operation=operation, cache_type=cache_type)
        series.observe("context_hydration_duration_seconds", self._seconds(state, "hydration"))
        for query_type in self._contract.by_name["hydration_queries_total"].labels["query_type"]:
            series.count("hydration_queries_total", query_type=query_type)
        series.count("lane_classification_total", lane=lane)
        series.observe("classification_duration_seconds", self._seconds(state, "classification"), lane=lane)
        for operation in ("select", "select", "insert", "update"):
            series.observe("database_query_duration_seconds", self._seconds(state, "database"), operation=operation)
            series.count("database_queries_total", operation=operation, status="success")
        if status == "error":
            series.count("errors_total", component="pipeline", error_type="internal")
        else:
            self._queue += 1
            self._due += 1
        self._spans += self.script["spans_per_request"]

    def _others(self, state: Mapping[str, Any]) -> None:
        """What is no conversation: duplicates, refused requests, errors, and the worker's jobs."""
        for _ in range(self._poisson(state["duplicates_per_second"] * STEP)):
            self._series.observe("idempotency_check_duration_seconds", self._seconds(state, "idempotency"))
            self._series.count("duplicate_messages_total")
            self._webhook("none", "duplicate", 0.002)
        for _ in range(self._poisson(state["rejected_per_second"] * STEP)):
            self._webhook("none", "rejected", 0.001)
        for kind, rate in state["errors_per_second"].items():
            component, error_type = kind.split("/")
            if number := self._poisson(rate * STEP):
                self._series.count("errors_total", number, component=component, error_type=error_type)
        for _ in range(min(self._queue, self.script["worker_jobs_per_second"] * STEP)):
            status = "error" if self._random.random() < state["mem0_fails"] else "success"
            self._queue -= status == "success"
            self._series.count("mem0_writes_total", status=status)
            self._series.observe("mem0_write_duration_seconds", self._seconds(state, "mem0"), status=status)

    def _replies(self, state: Mapping[str, Any]) -> None:
        """Attempts to send replies, those that are given up, and deliveries that are kept."""
        ended = ["error" if self._outgoing.random() < state["reply_fails"] else "success" for _ in range(self._due)]
        self._due = ended.count("error")
        for status in ended + ["dead"] * self._poisson(state["replies_given_up_per_second"] * STEP, self._outgoing):
            seconds = self._seconds(state, "reply", source=self._outgoing)
            self._series.count("reply_sends_total", status=status)
            self._series.observe("reply_send_duration_seconds", seconds, status=status)
            if status != "success":
                self._series.count("errors_total", component="reply", error_type="refused")
        for status, rate in state["kept_per_second"].items():
            if number := self._poisson(rate * STEP, self._outgoing):
                self._series.count("deliveries_kept_total", number, status=status)

    def _webhook(self, lane: str, status: str, seconds: float) -> None:
        labels = {"endpoint": "/webhooks/evolution", "lane": lane, "status": status}
        self._series.observe("webhook_request_duration_seconds", seconds, **labels)
        self._series.count("webhook_requests_total", **labels)

    def _scraped(self, state: Mapping[str, Any]) -> Iterator[str]:
        for job, instance in PORTS.items():
            labels: Labels = (("instance", instance), ("job", job))
            yield f"up{_braces(labels)} {int(job not in state['down'])}"
            if job not in state["down"]:
                yield from self._health(job, labels)
        if "otel-collector-derived" not in state["down"]:
            yield from self._series.lines()
            for process in range(self.script["processes"]):
                name = hashlib.sha256(f"{self._generation}/{process}".encode()).hexdigest()[:12]
                labels = (("instance", name), ("job", JOB))
                yield f"mem0_write_queue_size{_braces(labels)} {self._queue}"

    def _health(self, job: str, labels: Labels) -> Iterator[str]:
        said = self.script["health"]
        for one in self._contract.health:
            if one.job == job:
                number = {said["uptime"]: self._uptime, **dict.fromkeys(said["per_span"], self._spans)}.get(one.name, 0)
                if one.type == "gauge":
                    number = said["levels"][one.name]
                own = tuple((label, said["labels"][label]) for label in one.labels)
                yield f"{one.name}{_braces((*labels, *own))} {number}"

    def _seconds(
        self, state: Mapping[str, Any], what: str, lane: str = "", source: random.Random | None = None
    ) -> float:
        median = self.script["lanes"][lane]["seconds"] if lane else self.script["seconds"][what]
        slower = state["slower"].get(what, 1)
        draw = source or self._random
        return float(draw.lognormvariate(math.log(median * slower), self._spread))

    @property
    def _spread(self) -> float:
        return float(self.script["spread"])

    def _poisson(self, mean: float, source: random.Random | None = None) -> int:
        draw = source or self._random
        limit, number, product = math.exp(-mean), 0, draw.random()
        while product > limit:
            number += 1
            product *= draw.random()
        return number


def _braces(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels) + "}"


def _clock(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def _began(incident: Mapping[str, Any], minute: float) -> float | None:
    """When the incident that holds at this minute of the day began; None if it does not hold."""
    began: float = _clock(incident["from"])
    if minute < began or minute >= _clock(incident.get("until", "24:00")):
        return None
    if "every" in incident:
        began = minute - (minute - began) % incident["every"]
    lasts = incident["minutes"] if "minutes" in incident else incident["seconds"] / 60
    return began if minute - began < lasts else None


def blocks(sources: Sources, report: Report = lambda _: None) -> Path:
    """A folder with the day as Prometheus' blocks, made once for the same script, contract and generator.

    Raises:
        ToolError: promtool cannot be had, or does not take the day.
        SourceError: the script or the contract cannot be read.
    """
    day = Day(sources)
    made_of = [day.script, sources.yaml("otel-collector/metrics.yaml").data, Path(__file__).read_text("utf-8")]
    digest = hashlib.sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()[:12]
    return made_once(cache_folder() / "history" / digest, lambda made: _make(day, made, report), report)


def _make(day: Day, made: Path, report: Report) -> None:
    text = made.with_name("day.txt")
    total = (day.end - day.first) // STEP
    with text.open("w", encoding="utf-8") as file:
        for number, part in enumerate(day.text()):
            file.write(part)
            if number % 240 == 0:
                report(f"playing the day (once): {number / total:.0%}")
    report("playing the day (once): blocks")
    create(text, made, PATH)
