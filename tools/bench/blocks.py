"""What a span costs, hot: created, cleaned, encoded, sent and taken.

`python -m tools.bench.blocks NAME` is one program of them. For each line
it reads it makes so many blocks, and answers with the CPU seconds that all its threads took for them.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from opentelemetry import trace

from tools.base.otlp_sink import Sink
from tools.bench.alternatives import MAKE, NAMES, Open
from tools.bench.rounds import in_turns
from tools.stack.programs import ROOT

BLOCKS = 10_000
AT_ONCE = 500
PAUSE_SECONDS = 0.05
ATTRIBUTES = {"lane": "faq", "status": "success", "cache_type": "bundle"}


def measure(rounds: int, say: Callable[[str], None]) -> dict[str, list[float]]:
    """Microseconds of CPU a block, of each round, by name."""
    with Sink().listening() as sink, ExitStack() as running:
        programs = {name: running.enter_context(_program(name, sink.endpoint)) for name in NAMES}

        def turn(name: str) -> float:
            return _ask(programs[name])

        say("spans")
        in_turns(NAMES, 1, turn)  # what is made once is made
        return in_turns(NAMES, rounds, turn)


@contextmanager
def _program(name: str, endpoint: str) -> Iterator["subprocess.Popen[str]"]:
    paths = os.pathsep.join((str(ROOT / "service"), str(ROOT)))
    environment = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{endpoint}", "PYTHONPATH": paths}
    with subprocess.Popen(
        [sys.executable, "-m", "tools.bench.blocks", name],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        yield process


def _ask(process: "subprocess.Popen[str]") -> float:
    assert process.stdin is not None  # noqa: S101 - a pipe, as asked for
    assert process.stdout is not None  # noqa: S101
    print(file=process.stdin, flush=True)
    return float(process.stdout.readline()) / BLOCKS * 1e6


def _ours() -> tuple[Open, Callable[[], object]]:
    from app.observability import init_tracing, trace_span

    return trace_span, init_tracing().flush


def _nothing() -> None:
    pass


def main(name: str) -> None:
    """Make blocks as often as told."""
    block, flush = _ours() if name not in MAKE else (MAKE[name](), _nothing)
    if name == "OpenTelemetry SDK":
        flush = trace.get_tracer_provider().force_flush  # type: ignore[attr-defined]
    for _ in sys.stdin:
        before = time.process_time()
        for _ in range(BLOCKS // AT_ONCE):
            for _ in range(AT_ONCE):
                with block("lane.classify", ATTRIBUTES):
                    pass
            time.sleep(PAUSE_SECONDS)
        flush()
        print(time.process_time() - before, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
