"""Where this checkout's system runs, as processes or in Docker, and where a part of it is reached. Never a stranger."""

import os
import sys
from urllib.parse import urlsplit

from tools.base.errors import ToolError
from tools.base.words import OneOf
from tools.stack import docker
from tools.stack.ports import holder
from tools.stack.programs import ensure
from tools.stack.stack import running_here, this_clone


def in_docker() -> bool:
    """Whether the system runs in containers, and not as processes: if both, the processes are meant.

    Raises ToolError: Docker refuses this user.
    """
    return not this_clone().runs and docker.running()


def where(name: str) -> str:
    """The address of a component, without a slash at its end; for `prometheus` it is in `PROMETHEUS_URL`, and so on.

    Raises ToolError: the environment does not say it, and this checkout's does not run. What listens on its usual
    port then is another's.
    """
    variable = f"{name.upper()}_URL"
    if given := os.environ.get(variable):
        return given.rstrip("/")
    if in_docker():
        if address := docker.url(name):
            return address
        raise ToolError(f"{name} is not running in Docker: docker compose up -d {name}, or set {variable}.")
    stack = this_clone()
    address = stack.url(name)
    if stack.pid(name) is None:
        other = holder(urlsplit(address).port or 0)
        stranger = f" Who answers at {address} is none of its: {other}." if other else ""
        raise ToolError(
            f"{name} of this clone is not running: make up or docker compose up -d, or set {variable}.{stranger}"
        )
    return address


def store() -> str:
    """The trace store in use: `tempo` or `jaeger`."""
    if not in_docker():
        return this_clone().store
    return "jaeger" if docker.url("jaeger") else "tempo"  # it runs only where its profile was asked for


def only_processes(instead: str) -> None:
    """End a verb that containers do not allow. Raises ToolError, which says what does it there."""
    if in_docker():
        raise ToolError(f"the system runs in Docker: {instead}")


def administer(*words: str) -> int:
    """Run the service's `app.admin` where the system runs; its exit code. Raises ToolError: it does not run."""
    if in_docker():
        return docker.compose("exec", "-T", "worker", "python", "-m", "app.admin", *words)
    return running_here().run((sys.executable, "-m", "app.admin", *words))


def amtool() -> tuple[str, ...]:
    """The beginning of a command that asks the system's Alertmanager; to be run in the repository. Raises ToolError."""
    if in_docker() and not os.environ.get("ALERTMANAGER_URL"):
        return (*docker.COMPOSE, "exec", "-T", "alertmanager", "amtool", "--alertmanager.url=http://127.0.0.1:9093")
    return (str(ensure("amtool")), f"--alertmanager.url={where('alertmanager')}")


def _names() -> tuple[str, ...]:
    if in_docker():
        return tuple(dict.fromkeys(one.component for one in docker.containers()))
    return this_clone().names


COMPONENT = OneOf("component", _names)
