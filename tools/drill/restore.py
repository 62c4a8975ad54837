"""Undoing a drill. What it may have changed is written down before it begins, so that any later process can undo it.

Every step can be repeated and does nothing where nothing is to be undone.
"""

import asyncio
import contextlib
import fcntl
import json
import shutil
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil

from tools.base.errors import ToolError
from tools.stack.programs import Report
from tools.stack.stack import Stack

UNKNOWN_EVENT = b'{"event": "drill.tomorrow"}'
"""What a drill lets the service keep."""
SCHEMA = "drill"  # in PostgreSQL; everything that a drill makes there is in it, or depends on it
SECONDS = 30.0
CONFIGURED = ("prometheus", "alertmanager")  # what a drill gives another configuration
_TRIES = 5


@dataclass
class Left:
    """What a drill has touched."""

    running: list[str] = field(default_factory=list)
    """The components that ran when it began."""
    changed: list[str] = field(default_factory=list)
    """Those of them that it started anew with other settings."""


def write(stack: Stack, left: Left) -> None:
    """Remember it, before it is done."""
    folder(stack).mkdir(exist_ok=True)
    new = folder(stack) / "left.new"
    new.write_text(json.dumps(asdict(left)), "utf-8")
    new.replace(_file(stack))


def folder(stack: Stack) -> Path:
    """A drill's own files."""
    return stack.folder / "drill"


def read(stack: Stack) -> Left | None:
    """What a drill has left behind; None if none did."""
    try:
        return Left(**json.loads(_file(stack).read_text("utf-8")))
    except FileNotFoundError:
        return None


def _file(stack: Stack) -> Path:
    return folder(stack) / "left.json"


@contextmanager
def alone(stack: Stack) -> Iterator[None]:
    """No other drill runs within.

    Raises:
        ToolError: one does.
    """
    with (stack.folder / "drill.lock").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ToolError("a drill is running: wait for its end, or end it with Ctrl-C where it runs") from None
        yield


def undo_left(stack: Stack, say: Report) -> None:
    """Undo what a drill that was killed has left; nothing if none was.

    Raises:
        ToolError: a drill is running, or a component does not start.
    """
    if not stack.folder.exists():
        return
    with alone(stack):
        if read(stack) is not None:
            say("a drill was killed: putting back what it changed")
            undo(stack)


def undo(stack: Stack) -> None:
    """Everything is as before the drill: processes, what they were told, configuration, the database."""
    undo_faults(stack)
    put_configuration_back(stack)
    shutil.rmtree(folder(stack))


def undo_faults(stack: Stack) -> None:
    """The same without the configuration of Prometheus and Alertmanager."""
    left = read(stack) or Left()
    for name in left.running:
        wake(stack, name)
    for name in left.changed:
        stack.stop(name)
    for name in reversed(left.running):  # in the order of stopping the database is the last
        stack.start(name)
    left.changed = []
    write(stack, left)
    if stack.pid("simulator"):
        httpx.put(
            f"{stack.url('simulator')}/faults",
            json={"send_text": None, "embeddings": None, "chat": None},
            timeout=SECONDS,
            trust_env=False,
        ).raise_for_status()
    if stack.pid("postgres"):
        _in_database(stack, _mend_database)


async def _mend_database(connection: asyncpg.Connection) -> None:
    if await connection.fetchval("select to_regclass('drill.begun') is not null"):
        # Given up because of the drill: they would not be tried again.
        await connection.execute(
            "update jobs set state = 'waiting', attempts = 0, refusals = 0, run_at = now()"
            " where state = 'dead' and created_at >= (select at from drill.begun)"
        )
        await connection.execute("delete from kept where body = $1", UNKNOWN_EVENT)
    for attempt in range(_TRIES):
        try:
            await connection.execute(f"drop schema if exists {SCHEMA} cascade")
            break
        except asyncpg.DeadlockDetectedError:  # with the messages that the fault still holds up
            if attempt == _TRIES - 1:
                raise


def execute(stack: Stack, *statements: str) -> None:
    """Run SQL in the stack's database."""

    async def each(connection: asyncpg.Connection) -> None:
        for statement in statements:
            await connection.execute(statement)

    _in_database(stack, each)


def fetch(stack: Stack, query: str) -> Any:
    """The one value that SQL gives."""
    return _in_database(stack, lambda connection: connection.fetchval(query))


def _in_database(stack: Stack, work: Callable[[asyncpg.Connection], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        connection = await asyncpg.connect(stack.url("postgres"), timeout=SECONDS)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(run())


def put_configuration_back(stack: Stack) -> None:
    """Prometheus and Alertmanager have what is shipped."""
    render(stack)
    for name in CONFIGURED:
        if stack.pid(name):
            reload(stack, name)


def render(stack: Stack) -> None:
    """Write the shipped configuration with the stack's addresses, as the start does."""
    for name in CONFIGURED:
        stack.prepare(name)


def configuration(stack: Stack, name: str) -> Path:
    """The file that Prometheus or Alertmanager loads."""
    return stack.folder / name / f"{name}.yml"


def reload(stack: Stack, name: str) -> None:
    """Let Prometheus or Alertmanager load its configuration again.

    Raises:
        httpx.HTTPStatusError: it does not take it.
    """
    httpx.post(f"{stack.url(name)}/-/reload", timeout=SECONDS, trust_env=False).raise_for_status()


def pause(stack: Stack, name: str) -> None:
    """Stop a component where it stands; it keeps all it has."""
    _signal(stack, name, signal.SIGSTOP)


def wake(stack: Stack, name: str) -> None:
    """Let it go on; nothing if it never stopped."""
    _signal(stack, name, signal.SIGCONT)


def _signal(stack: Stack, name: str, number: int) -> None:
    if pid := stack.pid(name):
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).send_signal(number)
