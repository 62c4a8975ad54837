"""The whole system as processes here."""

import contextlib
import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil

from tools.base.errors import ToolError
from tools.stack import components, databases, processes, programs, state_files
from tools.stack.builds import LATER, NEEDED, Builds, Tell
from tools.stack.ports import HOST, LISTENS, Ports, holder, variable
from tools.stack.processes import READY_SECONDS, Component
from tools.stack.programs import ROOT

STATE = ROOT / ".state"
RECEIVERS = ROOT / "secrets"
STOP_ORDER = (
    *("service", "worker", "simulator", "otel-collector", "jaeger", "tempo", "prometheus", "alertmanager", "grafana"),
    *("redis", "postgres"),
)
SENDERS = STOP_ORDER[:3]
SECRETS = ("WEBHOOK_SECRET", "EVOLUTION_API_KEY", "GRAFANA_PASSWORD")
RELOAD_SECONDS = 30.0
BUSY_SECONDS = 300.0  # READY_SECONDS of a machine that compiles meanwhile
DRAIN_SECONDS = 16.0  # two flushes, as a new counter shows 0 at its first, and a scrape, 5 s each, and a margin
SAME_START_SECONDS = 2.0  # the kernel tells its boot time to the second, and not always the same one
CHOICES_FILE = "choices.json"

_Starting = tuple[Component, psutil.Popen, float]  # and when it has to be ready


def _silent(name: str, state: str) -> None:
    """Nobody is told."""


class Stack:
    """The processes whose state is in a folder. Another Stack with the same folder finds them again."""

    listens = HOST
    """Where something of ours listens for them."""
    reached_as = HOST
    """By which name they find this machine."""
    how_to_start = "make up"

    def __init__(
        self,
        folder: Path,
        ports: Ports | None = None,
        environment: Mapping[str, Mapping[str, str]] | None = None,
        store: str | None = None,
        receivers: Path | None = None,
    ) -> None:
        """What runs, and where.

        `environment`: what is added to a component's, by its name. `store`: jaeger, tempo, or what can be had.
        `receivers`: the folder with the secrets of those who are notified of alerts, see secrets/README.md; without
        one only the local receiver is.
        """
        self.folder = folder.resolve()
        self.ports = ports or Ports()
        self.environment = environment or {}
        self.receivers = receivers
        self.store = store or ("tempo" if programs.on_path("tempo") else "jaeger")
        absent = {"jaeger", "tempo"} - {self.store} | ({"grafana"} if programs.on_path("grafana") is None else set())
        self.names = tuple(name for name in STOP_ORDER if name not in absent)
        self._children: dict[str, psutil.Popen] = {}

    def builds(self, report: Tell = _silent) -> Builds:
        """Builds, within its context, the programs that are missing here, in the order of need."""
        programs_of = {name: program for name, program in (NEEDED | LATER).items() if name in self.names}
        return Builds(programs_of, report)

    def up(self, only: Collection[str] = (), report: Tell = _silent, builds: Builds | None = None) -> None:
        """Start what is not running, all at once: each waits for the others by itself. If one fails, all are stopped.

        One whose program `builds` is building starts as soon as it is there.

        Raises:
            ToolError: a port is taken, a program is missing, a component died.
        """
        missing = [name for name in self.names if (not only or name in only) and self.pid(name) is None]
        self._make_way(missing)
        self._prepare()
        try:
            seconds = BUSY_SECONDS if builds and builds.missing else READY_SECONDS
            self._start_all(self._parts(missing, report, builds), report, seconds)
        except BaseException:
            for name in missing:
                self.stop(name)
            raise

    def down(self, drain_seconds: float = DRAIN_SECONDS, report: Tell = _silent) -> None:
        """Stop everything; between the senders and the Collector wait until their last counts are in Prometheus."""
        running = [name for name in STOP_ORDER if self.pid(name)]
        counting = {"otel-collector", "prometheus"} <= set(running) and not set(SENDERS).isdisjoint(running)
        for name in running:
            if counting and name not in SENDERS:
                report(name, f"waiting {drain_seconds:.0f} s for the last counts")
                time.sleep(drain_seconds)
                counting = False
            report(name, "stopping")
            self.stop(name)
            report(name, "stopped")

    def start(
        self,
        name: str,
        environment: Mapping[str, str] | None = None,
        *,
        arguments: Sequence[str] = (),
        wait: bool = True,
    ) -> None:
        """Start one component if it does not run, with these added to its own ones; wait until it is ready.

        Raises as `up`.
        """
        if self.pid(name) is not None:
            return
        self._make_way([name])
        self._prepare()
        part = self._component(name, environment=environment)
        part = replace(part, command=(*part.command, *arguments))
        if wait:
            self._start_all([[part]], _silent)
        else:
            self._start(part)

    def prepare(self, name: str) -> None:
        """What precedes a component's start, its configuration for instance, without the start."""
        self._component(name).prepare()

    def stop(self, name: str) -> None:
        """Tell one component to stop, and wait until it has; nothing if it does not run."""
        if (process := self._process(name)) is not None:
            record = self._record(name)
            processes.stop(process, record["stop_signal"], record["stop_seconds"])
        self._forget(name)

    def pause(self, name: str) -> None:
        """Stop one where it stands; it keeps all it has."""
        self._signal(name, signal.SIGSTOP)

    def wake(self, name: str) -> None:
        """Let it go on; nothing if it never stopped."""
        self._signal(name, signal.SIGCONT)

    def execute(self, *statements: str) -> None:
        """Run SQL in the database."""
        databases.execute(self.url("postgres"), statements)

    def reload(self, name: str) -> None:
        """Let Prometheus or Alertmanager load its configuration. Raises httpx.HTTPStatusError: it does not take it."""
        httpx.post(f"{self.url(name)}/-/reload", timeout=RELOAD_SECONDS, trust_env=False).raise_for_status()

    def settle(self) -> None:
        """Prometheus and Alertmanager have what is shipped, with the stack's addresses, as after the start."""
        for name in ("prometheus", "alertmanager"):
            self.prepare(name)
            if self.pid(name):
                self.reload(name)

    def kill(self, name: str) -> None:
        """End one component as a crash would."""
        if (process := self._process(name)) is not None:
            processes.kill(process)
        self._forget(name)

    def remove(self) -> None:
        """Stop everything without waiting for counts, and delete all its data, the database's too."""
        self.down(drain_seconds=0)
        databases.remove(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def runs(self) -> bool:
        """Whether any of its components does."""
        return any(map(self.pid, self.names))

    def pid(self, name: str) -> int | None:
        """Of a component that runs."""
        process = self._process(name)
        return process.pid if process else None

    def state(self, name: str) -> str:
        """`running`, `died` (started, and ended by itself) or `not running`."""
        if self.pid(name) is not None:
            return "running"
        return "died" if self._record(name) else "not running"

    def log(self, name: str) -> Path:
        """The file with a component's output."""
        return processes.log_file(self.folder, name)

    def url(self, name: str) -> str:
        """Where a component is reached; empty for the worker."""
        return components.url(name, self.folder, self.ports)

    def service_environment(self) -> dict[str, str]:
        """What the service, the worker and the tools are told of the stack."""
        return {
            **self._secrets(),
            "PYTHONPATH": os.pathsep.join((str(ROOT / "service"), str(ROOT))),
            "DATABASE_URL": self.url("postgres"),
            "REDIS_URL": self.url("redis"),
            "EVOLUTION_API_URL": self.url("simulator"),
            "EMBEDDINGS_URL": f"{self.url('simulator')}/v1",
            "MEM0_DIR": str(self.folder / "mem0"),
            "DEMO_CATALOG": "true",
            "LOG_LEVEL": "info",  # the worker says in its log that it is ready
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{self.ports.collector_grpc}",
            "COLLECTOR_METRICS_URL": self.url("otel-collector"),
            "COLLECTOR_HEALTH_URL": f"http://{HOST}:{self.ports.collector_health}/",
            "SERVICE_URL": self.url("service"),
            "PROMETHEUS_URL": self.url("prometheus"),
            "ALERTMANAGER_URL": self.url("alertmanager"),
            "NOTIFICATIONS_URL": f"{self.url('simulator')}/notifications",
            f"{self.store.upper()}_URL": self.url(self.store),
        }

    def run(self, command: Sequence[str], stdout: int | None = None) -> int:
        """Run a command of somebody's with the service's environment; returns its exit code."""
        environment = os.environ | self.service_environment()
        return subprocess.run(command, env=environment, cwd=ROOT, stdout=stdout, check=False).returncode

    def write_choices(self) -> None:
        """Write down ports and store, so that other commands find this stack."""
        choices = {"ports": asdict(self.ports), "store": self.store}
        state_files.write_private(self.folder / CHOICES_FILE, json.dumps(choices))

    def make_folder(self) -> None:
        """Make the state folder, if it is not there."""
        if not self.folder.exists():
            self.folder.mkdir(parents=True)
            self.folder.chmod(0o711)  # PostgreSQL's user may have to pass; what is secret has its own mode

    def _prepare(self) -> None:
        text = "".join(f"{name}={shlex.quote(value)}\n" for name, value in self.service_environment().items())
        state_files.write_private(self.folder / "service.env", text)

    def _secrets(self) -> dict[str, str]:
        self.make_folder()
        file = self.folder / "secrets.json"
        known = state_files.read(file)
        if missing := [name for name in SECRETS if name not in known]:
            known |= {name: secrets.token_urlsafe(24) for name in missing}
            state_files.write_private(file, json.dumps(known))
        return dict(known)

    def _component(self, name: str, report: Tell = _silent, environment: Mapping[str, str] | None = None) -> Component:
        say = partial(report, name)
        common = self.service_environment()
        make: dict[str, Callable[[], Component]] = {
            "postgres": lambda: components.postgres(self.folder, say),
            "redis": lambda: components.redis(self.ports),
            "simulator": lambda: components.simulator(self.ports, common),
            "jaeger": lambda: components.jaeger(self.ports, say),
            "tempo": lambda: components.tempo(self.folder, self.ports),
            "otel-collector": lambda: components.otel_collector(self.folder, self.ports, self.store, say),
            "prometheus": lambda: components.prometheus(self.folder, self.ports, self.receivers, say),
            "alertmanager": lambda: components.alertmanager(self.folder, self.ports, self.receivers, say),
            "grafana": lambda: components.grafana(self.folder, self.url, self.store, common["GRAFANA_PASSWORD"]),
            "worker": lambda: components.worker(self.folder, common),
            "service": lambda: components.service(self.ports, common),
        }
        added = {**self.environment.get(name, {}), **(environment or {})}
        part = make[name]()
        return replace(part, environment={**part.environment, **added})

    def _signal(self, name: str, number: int) -> None:
        if (process := self._process(name)) is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _make_way(self, names: Collection[str]) -> None:
        taken = []
        for name in names:
            self._forget(name)  # one that died: its port is free once it has been waited for
            for port in LISTENS.get(name, ()):
                number = getattr(self.ports, port)
                if (who := holder(number)) is not None:
                    taken.append(
                        f"port {number}, which {name} needs, is taken by {who}: "
                        f"stop it, or choose another port: {variable(port)}={number + 1000} make up"
                    )
        if taken:
            raise ToolError("\n".join(taken))

    def _parts(self, names: Sequence[str], report: Tell, builds: Builds | None) -> Iterator[list[Component]]:
        """Those whose program is there by now, asked for again until all were."""
        waiting = list(names)
        while waiting:
            if self._children and not any(map(self._record, self.names)):
                raise ToolError("it was stopped meanwhile; make up goes on where the builds ended")
            there = [name for name in waiting if builds is None or builds.has(name)]
            waiting = [name for name in waiting if name not in there]
            yield [self._component(name, report) for name in there]

    def _start_all(
        self, parts: Iterable[list[Component]], report: Tell, seconds: float = READY_SECONDS
    ) -> list[Component]:
        coming, starting, ready = iter(parts), list[_Starting](), list[Component]()
        while (more := next(coming, None)) is not None or starting:
            for part in more or ():
                report(part.name, "starting")
                starting.append((part, self._start(part), time.monotonic() + seconds))
            for one in list(starting):
                part, process, deadline = one
                if not processes.is_running(process) and part.mendable():
                    starting.remove(one)
                    ready += self._start_again(part, report)
                elif processes.is_ready(part, process, self.folder):
                    report(part.name, "ready")
                    starting.remove(one)
                    ready.append(part)
                elif time.monotonic() > deadline:
                    raise processes.late(part.name, self.folder, seconds)
            for part in [part for part in ready if self.pid(part.name) is None]:  # died since it was ready
                if not part.mendable():
                    raise processes.died(part.name, self.folder)
                ready.remove(part)
                ready += self._start_again(part, report)
            time.sleep(processes.POLL_SECONDS)
        return ready

    def _start_again(self, part: Component, report: Tell) -> list[Component]:
        self._forget(part.name)
        return self._start_all([[replace(part, mendable=lambda: False)]], report)

    def _start(self, part: Component) -> psutil.Popen:
        process = processes.start(part, self.folder)
        self._children[part.name] = process
        record = {
            "pid": process.pid,
            "started": _started(process),
            "stop_signal": int(part.stop_signal),
            "stop_seconds": part.stop_seconds,
        }
        file = self._record_file(part.name)
        file.parent.mkdir(exist_ok=True)
        state_files.write_private(file, json.dumps(record))
        return process

    def _process(self, name: str) -> psutil.Process | None:
        if child := self._children.get(name):  # ours until we wait for it: its pid can't go to another
            return child if processes.is_running(child) else None
        record = self._record(name)
        if not record:
            return None
        try:
            process = psutil.Process(record["pid"])
            same = abs(_started(process) - record["started"]) < SAME_START_SECONDS  # else its pid went to another
        except psutil.NoSuchProcess:
            return None
        return process if same and processes.is_running(process) else None

    def _record_file(self, name: str) -> Path:
        return self.folder / "run" / f"{name}.json"

    def _record(self, name: str) -> dict[str, Any]:
        return state_files.read(self._record_file(name))

    def _forget(self, name: str) -> None:
        self._record_file(name).unlink(missing_ok=True)
        if child := self._children.pop(name, None):
            child.wait(processes.KILL_SECONDS)  # its threads may outlive it by a moment, and its port with them


def _started(process: psutil.Process) -> float:
    # Counted from the boot: a clock that was set would change the time of day at which it started.
    return float(process.create_time() - psutil.boot_time())


def this_clone() -> Stack:
    """The clone's stack, with the ports and the store it was started with; if none runs, what the environment says."""
    if choices := state_files.read(STATE / CHOICES_FILE):
        stack = Stack(STATE, Ports(**choices["ports"]), store=choices["store"], receivers=RECEIVERS)
        if stack.runs:
            return stack
    return Stack(STATE, Ports.from_environment(), receivers=RECEIVERS)


def running_here() -> Stack:
    """The clone's stack, of which something runs. Raises ToolError where nothing does."""
    stack = this_clone()
    if not stack.runs:
        raise ToolError("nothing is running: make up")
    return stack
