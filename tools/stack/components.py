"""The parts of the native run: how each is started, when it is ready, how it is stopped. All on loopback.

Keep in step: docker-compose.yaml starts the same programs with the same flags and variables.
"""

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import psutil
import yaml

from tools.base.clock import zone
from tools.base.errors import ToolError
from tools.base.files import collector_extras
from tools.stack import databases as embedded
from tools.stack import programs
from tools.stack.programs import ROOT, Report

HOST = "127.0.0.1"
READY_SECONDS = 60.0
POLL_SECONDS = 0.05
KILL_SECONDS = 10.0
LOG_LINES = 15
QUEUES_KEPT = 2  # damaged ones; each can have 1 GiB
_ASIDE = "queue.damaged."
_DAMAGED = re.compile(  # bbolt in the stack of what panicked, not in a dump of all, or what it says of a file
    r"^(?:panic: |unexpected fault address )(?:[^\n]+\n)+\ngoroutine [^\n]+\n(?:[^\n]+\n)*?[^\n]*\bgo\.etcd\.io/bbolt"
    r"|exporter: (?:file size too small|invalid database|version mismatch|checksum error|.*: is a directory$)",
    re.MULTILINE,
)
_STARTED = "----- started "  # a line of each log, so that the last lines are never an earlier run's


@dataclass(frozen=True)
class Ports:
    """Every TCP port of a stack. `PROMETHEUS_PORT=9091` in the environment sets the field `prometheus`, and so on."""

    service: int = 8000
    simulator: int = 8085
    redis: int = 6379
    collector_grpc: int = 4317
    collector_http: int = 4318
    collector_derived: int = 8889
    collector_own: int = 8888
    collector_health: int = 13133
    jaeger_query: int = 16686
    jaeger_otlp: int = 14317
    jaeger_health: int = 13134
    tempo: int = 3200
    tempo_otlp: int = 24317
    tempo_internal: int = 24095
    prometheus: int = 9090
    alertmanager: int = 9093
    grafana: int = 3000

    @classmethod
    def from_environment(cls) -> Self:
        """The defaults, but for those that the environment sets. Raises ToolError for one that is no port."""
        ports = {}
        for name in (one.name for one in fields(cls)):
            if text := os.environ.get(variable(name)):
                if not text.isdecimal() or not 0 < int(text) < 65536:
                    raise ToolError(f"{variable(name)}={text} is no port")
                ports[name] = int(text)
        return cls(**ports)

    @classmethod
    def free(cls) -> Self:
        """Ports that nobody listens on, for a stack beside others."""
        # Below the range out of which outgoing connections get theirs: one of those could take it before we do.
        names = [one.name for one in fields(cls)]
        ports = (port for port in random.sample(range(15_000, 32_768), 1_000) if holder(port) is None)
        return cls(**dict(zip(names, ports, strict=False)))


def variable(port: str) -> str:
    """The environment variable that sets this port."""
    return f"{port.upper()}_PORT"


def holder(port: int) -> str | None:
    """Who listens on a loopback port, as far as we may know; None if nobody."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what is left of closed connections is no listener
        try:
            probe.bind((HOST, port))
        except OSError:
            pass
        else:
            return None
    try:
        listening = (c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN)
        pid = next((c.pid for c in listening if c.laddr and c.laddr.port == port), None)
        return f"{psutil.Process(pid).name()} (pid {pid})" if pid else "a process of another user"
    except psutil.Error:
        return "a process of another user"


def url(name: str, folder: Path, ports: Ports) -> str:
    """Where a component is reached; empty for the worker, which only goes to others."""
    if name == "postgres":
        return embedded.postgres_url(folder)
    if name == "redis":
        return f"redis://{HOST}:{ports.redis}/0"
    if name == "otel-collector":
        return _url(ports.collector_derived, "/metrics")
    port = {"jaeger": "jaeger_query"}.get(name, name)
    return _url(getattr(ports, port)) if hasattr(ports, port) else ""


def _nothing() -> None:
    """Most components need no preparation."""


LISTENS: dict[str, tuple[str, ...]] = {
    "service": ("service",),
    "simulator": ("simulator",),
    "otel-collector": ("collector_grpc", "collector_http", "collector_derived", "collector_own", "collector_health"),
    "jaeger": ("jaeger_query", "jaeger_otlp", "jaeger_health"),
    "tempo": ("tempo", "tempo_otlp", "tempo_internal"),
    "prometheus": ("prometheus",),
    "alertmanager": ("alertmanager",),
    "grafana": ("grafana",),
    "redis": ("redis",),
}
"""The fields of Ports that a component listens on."""


@dataclass(frozen=True)
class Component:
    """One process."""

    name: str
    command: tuple[str, ...]
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to ours."""
    prepare: Callable[[], None] = _nothing
    account: str | None = None
    """Whom it runs as; None: as ourselves."""
    stop_signal: int = signal.SIGTERM
    stop_seconds: float = 15.0
    """Then it is killed."""
    mendable: Callable[[], bool] = lambda: False
    """Is asked once if it dies at its start: whether `prepare` takes the cause away before another start."""


def log_file(folder: Path, name: str) -> Path:
    """Where a component's output goes."""
    return folder / "log" / f"{name}.log"


def start(component: Component, folder: Path) -> psutil.Popen:
    """Start its process, which outlives ours. Raises ToolError."""
    log = log_file(folder, component.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    no_proxy = ",".join(filter(None, (os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), HOST, "localhost")))
    ours = {"NO_PROXY": no_proxy, "no_proxy": no_proxy, "PYTHONUTF8": "1"}
    environment = os.environ | ours | dict(component.environment)
    try:
        component.prepare()
        with log.open("a", encoding="utf-8") as output:
            output.write(f"{_STARTED}{component.name} {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
            output.flush()
            return psutil.Popen(
                component.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C in the terminal is meant for us
                **{"cwd": ROOT} | embedded.as_account(component.account),
            )
    except (OSError, ToolError) as error:
        raise ToolError(f"{component.name} cannot be started: {error}") from error


@contextmanager
def running(component: Component, folder: Path) -> Iterator[None]:
    """It is ready within, and gone afterwards. Raises ToolError: it does not start."""
    process = start(component, folder)
    try:
        wait_ready(component, process, folder)
        yield
    finally:
        stop(process, component.stop_signal, component.stop_seconds)
        process.wait(KILL_SECONDS)


def is_ready(component: Component, process: psutil.Process, folder: Path) -> bool:
    """Whether it is ready. Raises ToolError, with its last log lines, if it is dead."""
    if not is_running(process):
        raise died(component.name, folder)
    return component.ready()


def wait_ready(component: Component, process: psutil.Process, folder: Path, deadline: float = READY_SECONDS) -> None:
    """Wait this many seconds at most. Raises ToolError, with the last log lines, if it dies or is late."""
    end = time.monotonic() + deadline
    while not is_ready(component, process, folder):
        if time.monotonic() > end:
            raise late(component.name, folder, deadline)
        time.sleep(POLL_SECONDS)


def died(name: str, folder: Path) -> ToolError:
    """The error for one that is dead."""
    return ToolError(f"{name} died. {_last_lines(folder, name)}")


def late(name: str, folder: Path, deadline: float) -> ToolError:
    """The error for one that is not ready in time."""
    return ToolError(f"{name} was not ready after {deadline:.0f} s. {_last_lines(folder, name)}")


def stop(process: psutil.Process, stop_signal: int, seconds: float) -> None:
    """Tell it to stop, wait, kill it if it does not."""
    try:
        process.send_signal(stop_signal)
    except psutil.NoSuchProcess:
        return
    if not _gone([process], seconds):
        kill(process)


def kill(process: psutil.Process) -> None:
    """Kill it and its children, and wait until they are gone."""
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    _gone(family, KILL_SECONDS)


def _gone(processes: list[psutil.Process], seconds: float) -> bool:
    # Not psutil's wait(): it waits until somebody has collected the exit code, which in a container may be nobody.
    end = time.monotonic() + seconds
    while running := any(map(is_running, processes)):
        if time.monotonic() > end:
            break
        time.sleep(POLL_SECONDS)
    return not running


def is_running(process: psutil.Process) -> bool:
    """Whether it lives; one that ended but was not waited for does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _last_lines(folder: Path, name: str) -> str:
    log = log_file(folder, name)
    lines = _this_run(log).strip().splitlines()[-LOG_LINES:]
    if not lines:
        return f"Its log is empty: {log}"
    return f"Its log: {log}, which ends with\n" + "\n".join(f"  {line}" for line in lines)


def _this_run(log: Path) -> str:
    text = log.read_text("utf-8", "replace") if log.exists() else ""
    return text.rpartition(_STARTED)[2].partition("\n")[2]


def answers(url: str, *, accept_any: bool = False) -> bool:
    """Whether it answers with 200, or at all."""
    try:
        response = httpx.get(url, timeout=1.0, trust_env=False)
    except httpx.HTTPError:
        return False
    return accept_any or response.status_code == 200


def _url(port: int, path: str = "") -> str:
    return f"http://{HOST}:{port}{path}"


def postgres(folder: Path, report: Report) -> Component:
    """PostgreSQL with pgvector, on a Unix socket only."""
    server = embedded.postgres(folder, report)
    is_up = [str(server.binaries / "pg_isready"), "--quiet", f"--host={server.sockets}", f"--port={embedded.PORT}"]
    # `log` stands above errors, which would be logged with the rows that failed.
    silent = ("-c", "log_min_messages=log")
    options = ("-c", "listen_addresses=", "-c", f"unix_socket_directories={server.sockets}", *silent)
    return Component(
        "postgres",
        (str(server.binaries / "postgres"), "-D", str(server.data), "-p", str(embedded.PORT), *options),
        ready=lambda: subprocess.run(is_up, stderr=subprocess.DEVNULL, check=False).returncode == 0,
        prepare=lambda: embedded.initialise(server),
        account=server.account,
        stop_signal=signal.SIGINT,  # SIGTERM waits until the last client has gone
    )


def redis(ports: Ports) -> Component:
    """Redis, a cache: nothing of it is kept."""
    options = ("--bind", HOST, "--port", str(ports.redis), "--save", "", "--maxmemory", "64mb")
    return Component(
        "redis",
        (str(embedded.redis_server()), *options, "--maxmemory-policy", "allkeys-lru"),
        ready=lambda: _pong(ports.redis),
    )


def _pong(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _python(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *arguments)


def simulator(ports: Ports, environment: Mapping[str, str]) -> Component:
    """Evolution's API and an OpenAI-compatible model, both played."""
    return Component(
        "simulator",
        _python("simulator", "serve", "--host", HOST, "--port", str(ports.simulator)),
        ready=lambda: answers(_url(ports.simulator, "/health")),
        environment=environment,
    )


def jaeger(ports: Ports, report: Report) -> Component:
    """The trace store, unless Tempo is on PATH."""
    return Component(
        "jaeger",
        (str(programs.ensure("jaeger", report)), "--config", str(ROOT / "jaeger" / "config.yaml")),
        ready=lambda: answers(_url(ports.jaeger_health, "/status")),
        environment={
            "JAEGER_QUERY_ENDPOINT": f"{HOST}:{ports.jaeger_query}",
            "JAEGER_OTLP_ENDPOINT": f"{HOST}:{ports.jaeger_otlp}",
            "JAEGER_HEALTH_ENDPOINT": f"{HOST}:{ports.jaeger_health}",
        },
    )


def tempo(folder: Path, ports: Ports) -> Component:
    """The trace store, if it is on PATH at the pinned version."""
    options = ("-config.expand-env=true", f"-config.file={ROOT / 'tempo' / 'tempo.yaml'}")
    return Component(
        "tempo",
        (str(programs.ensure("tempo")), *options),
        ready=lambda: answers(_url(ports.tempo, "/ready")),
        environment={
            "TEMPO_HOST": HOST,
            "TEMPO_HTTP_PORT": str(ports.tempo),
            "TEMPO_OTLP_ENDPOINT": f"{HOST}:{ports.tempo_otlp}",
            "TEMPO_INTERNAL_PORT": str(ports.tempo_internal),
            "TEMPO_FOLDER": str(folder / "tempo"),
        },
    )


def otel_collector(folder: Path, ports: Ports, store: str, report: Report) -> Component:
    """The Collector, sending traces to the store: jaeger or tempo."""
    store_port = ports.tempo_otlp if store == "tempo" else ports.jaeger_otlp
    files = (ROOT / "otel-collector" / "config.yaml", ROOT / collector_extras())
    return Component(
        "otel-collector",
        (str(programs.ensure("otelcol", report)), *(f"--config={file}" for file in files)),
        ready=lambda: answers(_url(ports.collector_health)),
        prepare=lambda: set_damaged_queue_aside(folder),
        mendable=lambda: _queue_is_damaged(folder),
        environment={
            "OTLP_GRPC_ENDPOINT": f"{HOST}:{ports.collector_grpc}",
            "OTLP_HTTP_ENDPOINT": f"{HOST}:{ports.collector_http}",
            "DERIVED_METRICS_ENDPOINT": f"{HOST}:{ports.collector_derived}",
            "SELF_METRICS_HOST": HOST,
            "SELF_METRICS_PORT": str(ports.collector_own),
            "HEALTH_ENDPOINT": f"{HOST}:{ports.collector_health}",
            "TRACE_STORE_ENDPOINT": f"{HOST}:{store_port}",
            "QUEUE_DIRECTORY": str(folder / "otel-collector" / "queue").replace("$", "$$"),  # else it expands that too
            "GOMEMLIMIT": "400MiB",
            "GOGC": "400",  # memory for CPU: a fifth less of it
        },
    )


def set_damaged_queue_aside(folder: Path) -> None:
    """If the Collector's last run ended because of its queue's file, take the queue away; the newest two are kept.

    bbolt reads all pages at its start, and panics or refuses where one is damaged, by a power loss for instance; the
    extension's `recreate` does not catch it.
    """
    queue = folder / "otel-collector" / "queue"
    if not _queue_is_damaged(folder) or not queue.exists():
        return
    earlier = damaged_queues(folder)
    target = queue.with_name(f"{_ASIDE}{_number(earlier[-1]) + 1 if earlier else 1}")
    queue.rename(target)
    for old in earlier[: 1 - QUEUES_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    with log_file(folder, "otel-collector").open("a", encoding="utf-8") as log:
        log.write(f"The queue was damaged: set aside as {target}\n")


def _queue_is_damaged(folder: Path) -> bool:
    return bool(_DAMAGED.search(_this_run(log_file(folder, "otel-collector"))))


def damaged_queues(folder: Path) -> list[Path]:
    """The Collector's damaged queues that are kept, oldest first; the number in the last one's name counts all."""
    return sorted((folder / "otel-collector").glob(f"{_ASIDE}*"), key=_number)


def _number(queue: Path) -> int:
    return int(queue.name.removeprefix(_ASIDE))


def prometheus(folder: Path, ports: Ports, receivers: Path | None, report: Report) -> Component:
    """Prometheus, with the repository's configuration but for the addresses; its alerts name who is notified."""
    data = folder / "prometheus"
    options = (
        f"--config.file={data / 'prometheus.yml'}",
        f"--storage.tsdb.path={data / 'data'}",
        f"--web.listen-address={HOST}:{ports.prometheus}",
        f"--web.external-url={_url(ports.prometheus)}",
        "--web.enable-lifecycle",
        "--enable-feature=exemplar-storage,created-timestamp-zero-ingestion",
    )
    return Component(
        "prometheus",
        (str(programs.ensure("prometheus", report)), *options),
        ready=lambda: answers(_url(ports.prometheus, "/-/ready")),
        environment={"NOTIFY": ",".join(switched_on(receivers))},
        prepare=lambda: render_prometheus(ROOT / "prometheus" / "prometheus.yml", data / "prometheus.yml", ports),
    )


def switched_on(receivers: Path | None) -> list[str]:
    """The receivers whose file is in the folder: `slack-url` switches `slack` on."""
    return sorted(file.name.partition("-")[0] for file in receivers.glob("*-*")) if receivers else []


def render_prometheus(source: Path, target: Path, ports: Ports) -> None:
    """Put loopback addresses for the host names of compose, and absolute paths for relative ones.

    Raises ToolError for a configuration that is no YAML, or a host that only compose has.
    """
    addresses = {
        "otel-collector:8889": f"{HOST}:{ports.collector_derived}",
        "otel-collector:8888": f"{HOST}:{ports.collector_own}",
        "prometheus:9090": f"{HOST}:{ports.prometheus}",
        "alertmanager:9093": f"{HOST}:{ports.alertmanager}",
    }
    try:
        config = yaml.safe_load(source.read_text("utf-8"))
        for job in config["scrape_configs"] + config["alerting"]["alertmanagers"]:
            for group in job["static_configs"]:
                group["targets"] = [addresses[target] for target in group["targets"]]
    except yaml.YAMLError as error:
        raise ToolError(f"{source} is no YAML: {error}") from error
    except KeyError as error:
        raise ToolError(
            f"{source}: nothing is known here of {error}; tools/stack/rendered.py has the list"
        ) from error
    config["rule_files"] = [_beside(source, pattern) for pattern in config.get("rule_files", ())]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")


def _beside(source: Path, pattern: str) -> str:
    """An absolute pattern for one that is relative to this file, whose own path may hold what patterns are made of.

    Raises ToolError for a *, which Prometheus takes for a pattern, escaped or not.
    """
    if "*" in str(source.parent):
        raise ToolError(f"Prometheus takes no folder with a * in its name: rename {source.parent}")
    return str(Path(re.sub(r"([\\*?\[])", r"\\\1", str(source.parent))) / pattern)


def _replaced(value: Any, texts: Mapping[str, str]) -> Any:
    """A YAML document's value with these parts of its texts replaced."""
    if isinstance(value, dict):
        return {key: _replaced(inner, texts) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, texts) for inner in value]
    if isinstance(value, str):
        for old, new in texts.items():
            value = value.replace(old, new)
    return value


def alertmanager(folder: Path, ports: Ports, receivers: Path | None, report: Report) -> Component:
    """Alertmanager, with the repository's configuration but for the addresses and paths; it keeps silences."""
    data = folder / "alertmanager"
    options = (
        f"--config.file={data / 'alertmanager.yml'}",
        f"--storage.path={data / 'data'}",
        f"--web.listen-address={HOST}:{ports.alertmanager}",
        f"--web.external-url={_url(ports.alertmanager)}",
        "--cluster.listen-address=",
    )
    source = ROOT / "alertmanager" / "alertmanager.yml"
    return Component(
        "alertmanager",
        (str(programs.ensure("alertmanager", report)), *options),
        ready=lambda: answers(_url(ports.alertmanager, "/-/ready")),
        environment={"TZ": zone().key},
        prepare=lambda: render_alertmanager(source, data / "alertmanager.yml", ports, receivers),
    )


def render_alertmanager(source: Path, target: Path, ports: Ports, receivers: Path | None) -> None:
    """Put the local receiver's loopback address and absolute paths for what compose has.

    Raises ToolError for a configuration that is no YAML.
    """
    ours = {"http://simulator:8085": _url(ports.simulator), "/run/secrets": str(receivers or target.parent / "secrets")}
    try:
        config = _replaced(yaml.safe_load(source.read_text("utf-8")), ours)
    except yaml.YAMLError as error:
        raise ToolError(f"{source} is no YAML: {error}") from error
    config["templates"] = [_beside(source, pattern) for pattern in config.get("templates", ())]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")


def grafana(folder: Path, urls: Callable[[str], str], store: str, password: str) -> Component:
    """Grafana, if it is on PATH at the pinned version; `urls` tells where the others are."""
    program = programs.ensure("grafana")
    beside = program.resolve().parent.parent
    home = beside if (beside / "conf" / "defaults.ini").exists() else Path("/usr/share/grafana")  # as Debian's package
    files = ROOT / "grafana"
    port = urlsplit(urls("grafana")).port
    return Component(
        "grafana",
        (str(program), "server", "--homepath", str(home), "--config", str(files / "grafana.ini")),
        ready=lambda: answers(f"{urls('grafana')}/api/health"),
        environment={
            "GF_PATHS_DATA": str(folder / "grafana"),
            "GF_PATHS_LOGS": str(folder / "grafana" / "log"),
            "GF_PATHS_PLUGINS": str(folder / "grafana" / "plugins"),
            "GF_PATHS_PROVISIONING": str(files / "provisioning"),
            "GF_SERVER_HTTP_ADDR": HOST,
            "GF_SERVER_HTTP_PORT": str(port),
            "GF_SECURITY_ADMIN_PASSWORD": password,
            "DASHBOARDS": str(files / "dashboards"),
            "TRACE_STORE": store,
            **{f"{name.upper()}_URL": urls(name) for name in ("prometheus", "alertmanager", "tempo", "jaeger")},
        },
    )


def worker(folder: Path, environment: Mapping[str, str]) -> Component:
    """Drains the outbox."""
    log = log_file(folder, "worker")
    return Component(
        "worker",
        _python("app.outbox.worker"),
        ready=lambda: "the worker is ready" in _this_run(log),  # it has no port
        environment=environment,
    )


def service(ports: Ports, environment: Mapping[str, str]) -> Component:
    """The webhook."""
    # Fresh context variables for each request: else a pipelined one is part of the trace before it, and not counted.
    # Idle connections are kept longer than clients and proxies keep them (5 to 60 s): the side that sends must close
    # them, or a request that is on its way when the other one does is lost.
    command = ("uvicorn", "app.main:create_app", "--factory", "--host", HOST, "--port", str(ports.service))
    options = ("--no-access-log", "--no-server-header", "--reset-contextvars")
    waits = ("--timeout-graceful-shutdown", "5", "--timeout-keep-alive", "75")
    return Component(
        "service",
        _python(*command, *options, *waits),
        ready=lambda: answers(_url(ports.service, "/health"), accept_any=True),  # it serves while others are away
        environment=environment,
    )
