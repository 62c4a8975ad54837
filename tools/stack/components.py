"""The parts of the native run: how each is started, when it is ready, how it is stopped. All on loopback.

Keep in step: docker-compose.yaml starts the same programs with the same flags and variables.
"""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from tools.base.clock import zone
from tools.base.files import collector_extras
from tools.stack import databases, programs
from tools.stack.damaged_queue import is_damaged, set_aside
from tools.stack.ports import HOST, Ports, loopback
from tools.stack.processes import Component, answers, log_file, this_run
from tools.stack.programs import ROOT, Report
from tools.stack.rendered import render_alertmanager, render_prometheus


def url(name: str, folder: Path, ports: Ports) -> str:
    """Where a component is reached; empty for the worker, which only goes to others."""
    if name == "postgres":
        return databases.postgres_url(folder)
    if name == "redis":
        return f"redis://{HOST}:{ports.redis}/0"
    if name == "otel-collector":
        return loopback(ports.collector_derived, "/metrics")
    port = {"jaeger": "jaeger_query"}.get(name, name)
    return loopback(getattr(ports, port)) if hasattr(ports, port) else ""


def postgres(folder: Path, report: Report) -> Component:
    """PostgreSQL with pgvector, on a Unix socket only."""
    server = databases.postgres(folder, report)
    is_up = [str(server.binaries / "pg_isready"), "--quiet", f"--host={server.sockets}", f"--port={databases.PORT}"]
    # `log` stands above errors, which would be logged with the rows that failed.
    silent = ("-c", "log_min_messages=log")
    options = ("-c", "listen_addresses=", "-c", f"unix_socket_directories={server.sockets}", *silent)
    return Component(
        "postgres",
        (str(server.binaries / "postgres"), "-D", str(server.data), "-p", str(databases.PORT), *options),
        ready=lambda: subprocess.run(is_up, stderr=subprocess.DEVNULL, check=False).returncode == 0,
        prepare=lambda: databases.initialise(server),
        account=server.account,
        stop_signal=signal.SIGINT,  # SIGTERM waits until the last client has gone
    )


def redis(ports: Ports) -> Component:
    """Redis, a cache: nothing of it is kept."""
    options = ("--bind", HOST, "--port", str(ports.redis), "--save", "", "--maxmemory", "64mb")
    return Component(
        "redis",
        (str(databases.redis_server()), *options, "--maxmemory-policy", "allkeys-lru"),
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
        ready=lambda: answers(loopback(ports.simulator, "/health")),
        environment=environment,
    )


def jaeger(ports: Ports, report: Report) -> Component:
    """The trace store, unless Tempo is on PATH."""
    return Component(
        "jaeger",
        (str(programs.ensure("jaeger", report)), "--config", str(ROOT / "jaeger" / "config.yaml")),
        ready=lambda: answers(loopback(ports.jaeger_health, "/status")),
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
        ready=lambda: answers(loopback(ports.tempo, "/ready")),
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
        ready=lambda: answers(loopback(ports.collector_health)),
        prepare=lambda: set_aside(folder),
        mendable=lambda: is_damaged(folder),
        environment={
            "OTLP_GRPC_ENDPOINT": f"{HOST}:{ports.collector_grpc}",
            "OTLP_HTTP_ENDPOINT": f"{HOST}:{ports.collector_http}",
            "DERIVED_METRICS_ENDPOINT": f"{HOST}:{ports.collector_derived}",
            "SELF_METRICS_HOST": HOST,
            "SELF_METRICS_PORT": str(ports.collector_own),
            "HEALTH_ENDPOINT": f"{HOST}:{ports.collector_health}",
            "TRACE_STORE_ENDPOINT": f"{HOST}:{store_port}",
            "PROMETHEUS_OTLP_ENDPOINT": loopback(ports.prometheus, "/api/v1/otlp"),
            "QUEUE_DIRECTORY": str(folder / "otel-collector" / "queue").replace("$", "$$"),  # else it expands that too
            "GOMEMLIMIT": "400MiB",
            "GOGC": "400",  # memory for CPU: a fifth less of it
        },
    )


def prometheus(folder: Path, ports: Ports, receivers: Path | None, report: Report) -> Component:
    """Prometheus, with the repository's configuration but for the addresses; its alerts name who is notified."""
    data = folder / "prometheus"
    options = (
        f"--config.file={data / 'prometheus.yml'}",
        f"--storage.tsdb.path={data / 'data'}",
        f"--web.listen-address={HOST}:{ports.prometheus}",
        f"--web.external-url={loopback(ports.prometheus)}",
        "--web.enable-lifecycle",
        "--web.enable-otlp-receiver",
        "--enable-feature=exemplar-storage,created-timestamp-zero-ingestion",
    )
    return Component(
        "prometheus",
        (str(programs.ensure("prometheus", report)), *options),
        ready=lambda: answers(loopback(ports.prometheus, "/-/ready")),
        environment={"NOTIFY": ",".join(switched_on(receivers))},
        prepare=lambda: render_prometheus(ROOT / "prometheus" / "prometheus.yml", data / "prometheus.yml", ports),
    )


def switched_on(receivers: Path | None) -> list[str]:
    """The receivers whose file is in the folder: `slack-url` switches `slack` on."""
    return sorted(file.name.partition("-")[0] for file in receivers.glob("*-*")) if receivers else []


def alertmanager(folder: Path, ports: Ports, receivers: Path | None, report: Report) -> Component:
    """Alertmanager, with the repository's configuration but for the addresses and paths; it keeps silences."""
    data = folder / "alertmanager"
    options = (
        f"--config.file={data / 'alertmanager.yml'}",
        f"--storage.path={data / 'data'}",
        f"--web.listen-address={HOST}:{ports.alertmanager}",
        f"--web.external-url={loopback(ports.alertmanager)}",
        "--cluster.listen-address=",
    )
    source = ROOT / "alertmanager" / "alertmanager.yml"
    return Component(
        "alertmanager",
        (str(programs.ensure("alertmanager", report)), *options),
        ready=lambda: answers(loopback(ports.alertmanager, "/-/ready")),
        environment={"TZ": zone().key},
        prepare=lambda: render_alertmanager(source, data / "alertmanager.yml", ports, receivers),
    )


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
        ready=lambda: "the worker is ready" in this_run(log),  # it has no port
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
        ready=lambda: answers(loopback(ports.service, "/health"), accept_any=True),  # it serves while others are away
        environment=environment,
    )
