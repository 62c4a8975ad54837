"""The ports of a stack, and who listens on them."""

import os
import random
import re
import socket
from dataclasses import asdict, dataclass, fields
from typing import Self

import psutil

from tools.base.errors import ToolError

HOST = "127.0.0.1"


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

    def instead(self, text: str) -> str:
        """The text with these ports in its addresses on this machine, where it has the usual ones."""
        here = {str(usual): str(getattr(self, name)) for name, usual in asdict(Ports()).items()}
        return re.sub(rf"(?<={re.escape(HOST)}:)\d+", lambda port: here.get(port[0], port[0]), text)

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


def loopback(port: int, path: str = "") -> str:
    """The address of something on this port."""
    return f"http://{HOST}:{port}{path}"
