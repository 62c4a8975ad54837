"""Programs that have to be built, in the order in which they are needed, while what is there runs already.

One is compiled at a time, so that nothing is compiled twice; what the next one is made of is fetched meanwhile.
"""

import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from tools.base.errors import ToolError
from tools.stack import logged, programs

Tell = Callable[[str, str], None]
"""Is told a component's name and what it is doing: `starting`, `ready`, `stopped`, or what it waits for."""

NEEDED = {"otel-collector": "otelcol", "prometheus": "prometheus"}
"""The program of each component without which there are no series."""
LATER = {"alertmanager": "alertmanager", "jaeger": "jaeger"}
"""Those that join what runs; the one that is built sooner first."""
JOINS = {
    "alertmanager": "joins when it is built",
    "jaeger": "joins when it is built; until then traces wait in the Collector's queue",
}


class Builds:
    """Builds what is missing of these programs, by component, within its context."""

    def __init__(self, wanted: Mapping[str, str], report: Tell) -> None:
        self.missing = {name: program for name, program in wanted.items() if not programs.built(program)}
        self._report = report
        self._ended = threading.Event()
        self._fetcher = ThreadPoolExecutor(1, "fetcher")
        self._compiler = ThreadPoolExecutor(1, "compiler")
        self._made: dict[str, Future[Path]] = {}

    def __enter__(self) -> Self:
        afterwards = (*self.missing.values(), None)[1:]
        for (name, program), after in zip(self.missing.items(), afterwards, strict=True):
            self._report(name, JOINS.get(name, "starts when it is built"))
            self._made[name] = self._compiler.submit(self._make, name, program, after)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        pools = (self._compiler, self._fetcher)
        for pool in pools:  # first of all nothing more is begun
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in pools:
            pool.shutdown()

    def has(self, component: str) -> bool:
        """Whether its program is there. Raises ToolError: it could not be built."""
        made = self._made.get(component)
        return made is None or (made.done() and made.result().is_file())

    def _make(self, name: str, program: str, after: str | None) -> Path:
        if after:
            self._fetcher.submit(fetch, after, self._ended)
        return programs.ensure(program, partial(self._report, name), self._ended)


def fetch(name: str, ended: threading.Event | None = None) -> None:
    """Let Go load what the program's first command compiles. If that fails, so will the build, which says why."""
    program = programs.describe(name)
    first = program.commands[0]
    verb = next((place for place, word in enumerate(first) if word in ("build", "install")), None)
    if first[0] != "go" or verb is None:
        return
    command = (*first[: verb + 1], "-n", *first[verb + 1 :])  # it then only says what it would run
    with tempfile.TemporaryDirectory() as folder:
        try:
            variables = programs.environment(program, Path(folder))
            logged.run(program.name, command, variables, Path(folder) / "log", ended)
        except ToolError:
            return
