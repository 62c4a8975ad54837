"""This checkout's containers, as a drill breaks and mends them: it answers and obeys as `Stack` does for processes.

The files in the repository are only read. What differs from them during a drill lies in a Compose file laid over ours,
in the state folder; without it `docker compose up -d` makes everything anew as it was.
"""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from tools.base.errors import ToolError
from tools.stack import docker
from tools.stack.ports import Ports
from tools.stack.programs import ROOT
from tools.stack.stack import RECEIVERS, STATE, STOP_ORDER

SECONDS = 30.0
MACHINE = "host.docker.internal"  # this machine, by a name that containers know
PORTS = {
    "service": ("service", 8000),
    "simulator": ("simulator", 8085),
    "collector_grpc": ("otel-collector", 4317),
    "collector_http": ("otel-collector", 4318),
    "collector_derived": ("otel-collector", 8889),
    "jaeger_query": ("jaeger", 16686),
    "tempo": ("tempo", 3200),
    "prometheus": ("prometheus", 9090),
    "alertmanager": ("alertmanager", 9093),
    "grafana": ("grafana", 3000),
}
"""What is published: by the field of Ports the component, and its port within."""


class Containers:
    """The containers that run. Raises ToolError where Docker does not answer."""

    listens, reached_as = "0.0.0.0", MACHINE
    how_to_start = "docker compose up -d --wait"

    def __init__(self) -> None:
        found = {one.component: one for one in docker.containers(anew=True)}
        self.folder = STATE / "docker"
        self.receivers: Path | None = RECEIVERS
        self.names = tuple(name for name in STOP_ORDER if name in found)
        self.store = "jaeger" if "jaeger" in found and found["jaeger"].state != "exited" else "tempo"
        self.ports = Ports(
            **{
                field: found[component].published[within]
                for field, (component, within) in PORTS.items()
                if component in found and within in found[component].published
            }
        )
        self._urls = {name: one.url for name, one in found.items()}
        files = next((one.config_files for one in found.values() if not self._is_ours(one)), ())
        self._files = [word for file in files for word in ("--file", file)]

    def check(self) -> None:
        """Raises ToolError: from this shell, some would be made anew with other settings than they have."""
        asked = dict(line.split() for line in self._compose("config", "--hash", "*").splitlines() if line)
        others = [one.component for one in docker.containers() if asked.get(one.component) != one.config_hash]
        if others:
            raise ToolError(
                f"{', '.join(others)} run with other settings than this shell and the files say: set the variables that"
                " they were started with, or put them into .env (docs/docker.md), or: docker compose up -d"
            )

    def state(self, name: str) -> str:
        """`running`, `paused`, `exited`, …; `not running` where there is no container."""
        found = {one.component: one.state for one in docker.containers(anew=True)}
        return found.get(name, "not running")

    def url(self, name: str) -> str:
        """Where a component is reached from here; empty if it is not published."""
        return self._urls.get(name, "")

    def service_environment(self) -> dict[str, str]:
        """What the service was started with."""
        return docker.environment("service")

    def make_folder(self) -> None:
        """For what a drill writes down; containers' users read it."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def stop(self, name: str) -> None:
        """Tell one to stop, and wait until it has."""
        self._compose("stop", name)

    def start(self, name: str, environment: Mapping[str, str] | None = None, *, arguments: Sequence[str] = ()) -> None:
        """Start one if it does not run, with these added to its own; wait until it is healthy."""
        if self.state(name) == "running":
            return
        overlay = self._overlay()
        overlay.pop(name, None)
        if environment or arguments:
            overlay[name] = {"extra_hosts": [f"{MACHINE}:host-gateway"], "environment": dict(environment or {})}
        if arguments:
            overlay[name]["command"] = [word.replace("$", "$$") for word in (*docker.command(name), *arguments)]
        self._up(overlay, name)

    def pause(self, name: str) -> None:
        """Stop it where it stands."""
        self._compose("pause", name)

    def wake(self, name: str) -> None:
        """Let it go on; nothing if it never stopped."""
        if self.state(name) == "paused":
            self._compose("unpause", name)

    def execute(self, *statements: str) -> None:
        """Run SQL in the database, whose port is not published. Raises ToolError."""
        words = ("psql", "--username=healthcare", "--dbname=healthcare", "--set=ON_ERROR_STOP=1", "--quiet")
        self._compose("exec", "-T", "postgres", *words, stdin="".join(f"{one};\n" for one in statements))

    def prepare(self, name: str) -> None:
        """Write the shipped configuration where a drill edits it: into the same file, which is mounted."""
        file = self.folder / name / f"{name}.yml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text((ROOT / name / f"{name}.yml").read_text("utf-8"), "utf-8")

    def reload(self, name: str) -> None:
        """Let Prometheus or Alertmanager load its configuration. Raises httpx.HTTPStatusError: it does not take it."""
        _readable(self.folder)
        overlay = self._overlay()
        if name in overlay:
            httpx.post(f"{self.url(name)}/-/reload", timeout=SECONDS, trust_env=False).raise_for_status()
        else:  # the first time; patients who write by themselves are silent, too
            laid_over = self._configured()
            self._up(overlay | laid_over, *laid_over)

    def settle(self) -> None:
        """All are as the files say."""
        self._file.unlink(missing_ok=True)
        self._compose("up", "--detach", "--no-deps", "--wait", *self.names)

    def _configured(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            name: {"volumes": [f"{self.folder / name / name}.yml:/etc/{name}/{name}.yml:ro"]}
            for name in ("prometheus", "alertmanager")
        }
        drill = self._file.parent
        found["prometheus"]["volumes"].append(f"{drill}:{drill}:ro")  # rules are named by where they are here
        words = docker.command("simulator")
        found["simulator"] = {"command": [*words[: words.index("--traffic")], "--traffic", "0"]}
        return found

    def _is_ours(self, container: docker.Container) -> bool:
        """Whether a drill made it."""
        return str(self._file) in container.config_files

    @property
    def _file(self) -> Path:
        return self.folder / "drill" / "compose.yaml"

    def _overlay(self) -> dict[str, Any]:
        try:
            return dict(yaml.safe_load(self._file.read_text("utf-8"))["services"])
        except FileNotFoundError:
            return {}

    def _up(self, overlay: Mapping[str, Any], *names: str) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(yaml.safe_dump({"services": dict(overlay)}), "utf-8")
        self._compose("up", "--detach", "--no-deps", "--wait", *names)

    def _compose(self, *words: str, stdin: str = "") -> str:
        over = ("--file", str(self._file)) if self._file.exists() else ()
        command = (*docker.COMPOSE, *self._files, *over, *words)
        ran = subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, encoding="utf-8", check=False)
        if ran.returncode:
            said = ran.stderr.strip().splitlines() or ["no reason given"]
            raise ToolError(f"docker compose {words[0]} failed: {said[-1]}")
        return ran.stdout


def _readable(folder: Path) -> None:
    """By the containers' users, whatever the umask: nothing secret is in it."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
