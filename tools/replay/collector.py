"""The real Collector with a real YAML, on free ports of the loopback interface, and what it shows to Prometheus."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tools.base.files import ROOT, collector_extras
from tools.base.wait import until
from tools.model.expected import Samples
from tools.stack.ports import HOST, LISTENS, Ports
from tools.stack.processes import NO_CERTIFICATES
from tools.stack.programs import ensure

# The shipped YAML, or another one that has to pass the same tests (`make mutants`).
CONFIG = Path(os.environ.get("COLLECTOR_CONFIG") or ROOT / "otel-collector" / "config.yaml")
NOWHERE = f"http://{HOST}:1"
EXTRAS = ROOT / collector_extras()
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
_EXEMPLAR = re.compile(r"^(?P<name>\w+){.*} \S+ # {(?P<ids>.*)} \S+ \S+$")
_PAIR = re.compile(r'(\w+)="(.*?)"')


def exemplars(exposition: str) -> list[tuple[str, dict[str, str]]]:
    """Metric and ids of each exemplar in an OpenMetrics text; the library's own parser trips over their timestamps."""
    matches = filter(None, map(_EXEMPLAR.match, exposition.splitlines()))
    return [(match["name"].removesuffix("_bucket"), dict(_PAIR.findall(match["ids"]))) for match in matches]


@dataclass
class Collector:
    """One process. `directory` holds its queue and its log; start again on the same one to keep the queue.

    It keeps its ports. `prometheus` is whom it pushes to, by default nobody.
    `changes` are settings laid over the YAML, for instance `exporters::otlp_grpc::sending_queue::queue_size: 9`.
    """

    directory: Path
    store: str
    config: Path = CONFIG
    extras: Path = EXTRAS
    interval: str = "100ms"
    changes: Sequence[str] = ()
    prometheus: str = NOWHERE
    grpc: str = field(init=False)
    http: str = field(init=False)
    derived: str = field(init=False)
    own: str = field(init=False)
    health: str = field(init=False)

    def __post_init__(self) -> None:
        ports = Ports.free()
        self.grpc, self.http, self.derived, self.own, self.health = (
            f"{HOST}:{getattr(ports, name)}" for name in LISTENS["otel-collector"]
        )

    @contextmanager
    def running(self) -> Iterator["Collector"]:
        """Started within, stopped after, whatever happens in between."""
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def start(self) -> None:
        """Start it and wait until it takes spans.

        Raises:
            RuntimeError: the process ended; the message is its log.
            TimeoutError: it is not ready in time.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        arguments = [f"--config={part}" for part in (self.config, self.extras, *(f"yaml:{it}" for it in self.changes))]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [ensure("otelcol"), *arguments], env=self._environment(), stdout=log, stderr=subprocess.STDOUT
            )
        until(self._ready, "the Collector is ready")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, by default gracefully, and wait for its end.

        Raises:
            RuntimeError: it has ended before, by itself or by somebody else; the message is its log.
        """
        self._still_runs()
        self.process.send_signal(how)
        self.process.wait(timeout=30)

    def log(self) -> str:
        """All it has logged in this directory."""
        return self._log.read_text("utf-8", "replace")

    def exposition(self, accept: str = "text/plain") -> str:
        """What Prometheus would scrape from the derived port."""
        return self._get(f"http://{self.derived}/metrics", accept).raise_for_status().text

    def families(self) -> list[Metric]:
        """The derived metrics; a counter's name is without `_total` here, so a gauge may have the same."""
        return list(text_string_to_metric_families(self.exposition()))

    def samples(self) -> Samples:
        """The exposition, sample by sample."""
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families()
            for sample in family.samples
        }

    def meaning(self) -> dict[str, tuple[str, str]]:
        """Type and HELP of each metric by the name that Prometheus shows."""
        return {
            family.name + "_total" if family.type == "counter" else family.name: (family.type, family.documentation)
            for family in self.families()
        }

    def own_exposition(self) -> str:
        """Its own health, as Prometheus would scrape it."""
        return self._get(f"http://{self.own}/metrics").raise_for_status().text

    def own_metrics(self) -> dict[str, float]:
        """Its own health: each metric's sum over all label sets, by its very name (the parser would add `_total`)."""
        totals: dict[str, float] = {}
        for line in self.own_exposition().splitlines():
            if not line.startswith("#"):
                name, value = re.split(r"[{ ]", line, maxsplit=1)[0], line.rsplit(maxsplit=1)[1]
                totals[name] = totals.get(name, 0) + float(value)
        return totals

    @property
    def _log(self) -> Path:
        return self.directory / "otelcol.log"

    def _environment(self) -> Mapping[str, str]:
        host, port = self.own.split(":")
        return {
            "OTLP_GRPC_ENDPOINT": self.grpc,
            "OTLP_HTTP_ENDPOINT": self.http,
            "DERIVED_METRICS_ENDPOINT": self.derived,
            "SELF_METRICS_HOST": host,
            "SELF_METRICS_PORT": port,
            "HEALTH_ENDPOINT": self.health,
            "TRACE_STORE_ENDPOINT": self.store,
            "PROMETHEUS_OTLP_ENDPOINT": f"{self.prometheus}/api/v1/otlp",
            "QUEUE_DIRECTORY": str(self.directory / "queue"),
            "DERIVE_INTERVAL": self.interval,
        }

    def _ready(self) -> bool:
        self._still_runs()
        try:
            return self._get(f"http://{self.health}/").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    @staticmethod
    def _get(url: str, accept: str = "*/*") -> httpx.Response:
        return httpx.get(url, headers={"Accept": accept}, verify=NO_CERTIFICATES, trust_env=False)

    def _still_runs(self) -> None:
        if self.process.poll() is not None:
            raise RuntimeError(f"the Collector ended with {self.process.returncode}:\n{self.log()}")
