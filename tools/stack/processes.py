"""Processes: how one is started, when it is ready, how it is stopped, and what it said last."""

import contextlib
import os
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from tools.base.errors import ToolError
from tools.stack import databases
from tools.stack.ports import HOST
from tools.stack.programs import ROOT

READY_SECONDS = 60.0
POLL_SECONDS = 0.05
KILL_SECONDS = 10.0
LOG_LINES = 15
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # else httpx loads all there are, 50 ms of CPU a call
_STARTED = "----- started "  # a line of each log, so that the last lines are never an earlier run's


def _nothing() -> None:
    """Most components need no preparation."""


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
                **{"cwd": ROOT} | databases.as_account(component.account),
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
    lines = this_run(log).strip().splitlines()[-LOG_LINES:]
    if not lines:
        return f"Its log is empty: {log}"
    return f"Its log: {log}, which ends with\n" + "\n".join(f"  {line}" for line in lines)


def this_run(log: Path) -> str:
    """What a log has since the last start."""
    text = log.read_text("utf-8", "replace") if log.exists() else ""
    return text.rpartition(_STARTED)[2].partition("\n")[2]


def answers(url: str, *, accept_any: bool = False) -> bool:
    """Whether it answers with 200, or at all."""
    try:
        response = httpx.get(url, timeout=1.0, verify=NO_CERTIFICATES, trust_env=False)
    except httpx.HTTPError:
        return False
    return accept_any or response.status_code == 200
