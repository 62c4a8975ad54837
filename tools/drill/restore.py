"""Undoing a drill. What it may have changed is written down before it begins, so that any later process can undo it.

Every step can be repeated and does nothing where nothing is to be undone.
"""

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import asyncpg
import httpx

from tools.base.errors import ToolError
from tools.drill.system import System
from tools.stack.programs import Report

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


def write(stack: System, left: Left) -> None:
    """Remember it, before it is done."""
    folder(stack).mkdir(exist_ok=True)
    new = folder(stack) / "left.new"
    new.write_text(json.dumps(asdict(left)), "utf-8")
    new.replace(_file(stack))


def folder(stack: System) -> Path:
    """A drill's own files."""
    return stack.folder / "drill"


def read(stack: System) -> Left | None:
    """What a drill has left behind; None if none did."""
    try:
        return Left(**json.loads(_file(stack).read_text("utf-8")))
    except FileNotFoundError:
        return None


def _file(stack: System) -> Path:
    return folder(stack) / "left.json"


@contextmanager
def alone(stack: System) -> Iterator[None]:
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


def undo_left(stack: System, say: Report) -> None:
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


def undo(stack: System) -> None:
    """Everything is as before the drill: components, what they were told, configuration, the database."""
    undo_faults(stack)
    stack.settle()
    shutil.rmtree(folder(stack))


def undo_faults(stack: System) -> None:
    """The same without the configuration of Prometheus and Alertmanager."""
    left = read(stack) or Left()
    for name in left.running:
        stack.wake(name)
    for name in left.changed:
        stack.stop(name)
    for name in reversed(left.running):  # in the order of stopping the database is the last
        stack.start(name)
    left.changed = []
    write(stack, left)
    if stack.state("simulator") == "running":
        httpx.put(
            f"{stack.url('simulator')}/faults",
            json={"send_text": None, "embeddings": None, "chat": None},
            timeout=SECONDS,
            trust_env=False,
        ).raise_for_status()
    if stack.state("postgres") == "running":
        _mend_database(stack)


# Given up because of the drill: they would not be tried again.
_MEND = """do $$ begin if to_regclass('drill.begun') is not null then
  update jobs set state = 'waiting', attempts = 0, refusals = 0, run_at = now()
    where state = 'dead' and created_at >= (select at from drill.begun);
  delete from kept where body = 'BODY'::bytea;
end if; end $$""".replace("BODY", rf"\x{UNKNOWN_EVENT.hex()}")


def _mend_database(stack: System) -> None:
    stack.execute(_MEND)
    for attempt in range(_TRIES):
        try:
            stack.execute(f"drop schema if exists {SCHEMA} cascade")
            break
        except (asyncpg.DeadlockDetectedError, ToolError):  # with the messages that the fault still holds up
            if attempt == _TRIES - 1:
                raise


def render(stack: System) -> None:
    """Write the shipped configuration where Prometheus and Alertmanager load it, as the start does."""
    for name in CONFIGURED:
        stack.prepare(name)


def configuration(stack: System, name: str) -> Path:
    """The file that Prometheus or Alertmanager loads."""
    return stack.folder / name / f"{name}.yml"
