"""This checkout's stack where Docker runs it: all of it is asked of `docker compose`, nothing is remembered here."""

import functools
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.base.errors import ToolError
from tools.base.files import ROOT
from tools.stack.ports import HOST

COMPOSE = ("docker", "compose")  # to be run in the repository
SECONDS = 20.0  # an engine that takes longer to list containers is none to wait for
ASKED = {
    "service": 8000,
    "simulator": 8085,
    "otel-collector": 8889,
    "prometheus": 9090,
    "thanos-query": 10902,
    "alertmanager": 9093,
    "grafana": 3000,
    "tempo": 3200,
    "jaeger": 16686,
}
"""The port within its container, of each component that is asked over HTTP; docker-compose.yaml publishes them."""
INSTEAD = {"prometheus": "thanos-query"}
"""Who answers for both where docker-compose.scale.yaml runs a pair."""

ONCE = ("files-check", "collector-queue-owner", "bucket-owner")
"""The containers that end at once."""


@dataclass(frozen=True)
class Container:
    """One of the stack's, as `docker compose ps` tells it."""

    name: str
    component: str
    state: str
    """`running`, `exited`, …"""
    health: str
    """`healthy`, `unhealthy`, `starting`; empty where no health is asked."""
    exit_code: int
    published: Mapping[int, int]
    """Ports on this machine by the port within."""
    config_hash: str = ""
    """Of what it was made from, by Compose."""
    config_files: tuple[str, ...] = ()
    """The Compose files that it was made from."""

    @property
    def runs(self) -> bool:
        """Whether its program does."""
        return self.state == "running"

    @property
    def done(self) -> bool:
        """Whether it had one thing to do, and did it."""
        return self.component in ONCE and self.state == "exited" and self.exit_code == 0

    @property
    def url(self) -> str:
        """Where it is reached, without a slash at its end; empty if its port is not published."""
        port = self.published.get(ASKED.get(self.component, 0))
        path = "/metrics" if self.component == "otel-collector" else ""
        return f"http://{HOST}:{port}{path}" if port else ""


def containers(*, anew: bool = False) -> tuple[Container, ...]:
    """This checkout's, stopped ones too, in the order of their names; none where Docker is not, or has none.

    As they were when a command asked first, or, `anew`, as they are now.

    Raises ToolError: this user may not ask Docker, which could well run it.
    """
    if anew:
        _listed.cache_clear()
    program = shutil.which("docker")
    return _listed(program) if program else ()


def running() -> bool:
    """Whether any of them runs. Raises as `containers`."""
    return any(container.runs for container in containers())


def url(component: str) -> str:
    """Where a component that runs is reached; empty if it does not, or is not published. Raises as `containers`."""
    found = _running(INSTEAD.get(component, component)) or _running(component)
    return found.url if found else ""


def environment(component: str) -> dict[str, str]:
    """What a component was started with, whatever `.env` says by now. Raises ToolError: it does not run."""
    return dict(line.split("=", 1) for line in _inspected(component)["Env"] if "=" in line)


def command(component: str) -> list[str]:
    """The words after its image's entrypoint, also of one that was stopped. Raises ToolError: there is none."""
    return list(_inspected(component, stopped_too=True)["Cmd"] or ())


def own_traffic() -> bool:
    """Whether the simulator writes messages by itself."""
    words = command("simulator")
    return float(words[words.index("--traffic") + 1]) > 0 if "--traffic" in words else False


def compose(*words: str) -> int:
    """Run `docker compose` with these words, in front of the person; its exit code."""
    return subprocess.run((*COMPOSE, *words), cwd=ROOT, check=False).returncode


@functools.cache
def _listed(program: str) -> tuple[Container, ...]:
    command = (program, "compose", "ps", "--all", "--format", "json")
    try:
        asked = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    if "permission denied" in asked.stderr.lower():
        raise ToolError(f"Docker may run this stack, and does not answer you: {asked.stderr.strip().splitlines()[0]}")
    if asked.returncode:
        return ()
    found = [_container(entry) for entry in _entries(asked.stdout) if _is_ours(entry)]
    return tuple(sorted(found, key=lambda one: one.name))


def _entries(text: str) -> list[dict[str, Any]]:
    """A line each; Compose before 2.21 prints a list."""
    if text.startswith("["):
        listed: list[dict[str, Any]] = json.loads(text)
        return listed
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _is_ours(entry: Mapping[str, Any]) -> bool:
    """Other checkouts' containers belong to the same project, since its name stands in the file."""
    folder = _label(entry, "project.working_dir")
    return not folder or Path(folder).resolve() == ROOT.resolve()


def _label(entry: Mapping[str, Any], name: str) -> str:
    """One of Compose's own; empty if it is not there."""
    found = re.search(rf"com\.docker\.compose\.{re.escape(name)}=(.*?)(?:,[\w.-]+=|$)", str(entry.get("Labels", "")))
    return found[1] if found else ""


def _container(entry: Mapping[str, Any]) -> Container:
    ports = {one["TargetPort"]: one["PublishedPort"] for one in entry.get("Publishers") or () if one["PublishedPort"]}
    return Container(
        name=entry["Name"],
        component=entry["Service"],
        state=entry["State"],
        health=entry.get("Health", ""),
        exit_code=entry.get("ExitCode", 0),
        published=ports,
        config_hash=_label(entry, "config-hash"),
        config_files=tuple(filter(None, _label(entry, "project.config_files").split(","))),
    )


def _running(component: str, *, stopped_too: bool = False) -> Container | None:
    return next((one for one in containers() if one.component == component and (one.runs or stopped_too)), None)


def _inspected(component: str, *, stopped_too: bool = False) -> dict[str, Any]:
    found = _running(component, stopped_too=stopped_too)
    if found is None:
        raise ToolError(f"{component} of this checkout does not run in Docker: docker compose up -d {component}")
    command = ("docker", "inspect", "--format", "{{json .Config}}", found.name)
    asked = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if asked.returncode:
        raise ToolError(f"docker inspect {found.name} failed: {asked.stderr.strip()}")
    config: dict[str, Any] = json.loads(asked.stdout)
    return config
