"""Telemetry and processes: forks, a second start, ends from anywhere; over gRPC and over HTTP."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from tools.base.otlp_sink import Sink

HELPERS = """
import multiprocessing, os, signal, sys, threading, time
from app.observability import init_tracing, observe_mem0_queue_size, trace_span
from app.observability.levels import QUEUE_SIZE

def make(name, count):
    for _ in range(count):
        with trace_span(name):
            pass
"""


@pytest.fixture
def collector() -> Iterator[Sink]:
    with Sink().listening() as sink:
        yield sink
        sink.answer("take")


def run(collector: Sink, program: str, **environment: str) -> str:
    """What a program prints that exports to the sink; fails if it fails, or takes longer than 30 s."""
    done = subprocess.run(
        [sys.executable, "-c", HELPERS + program],
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector.endpoint}", "PYTHONPATH": "service:."} | environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def names(collector: Sink) -> dict[str, int]:
    """How often each name arrived; fails if a span came twice."""
    spans = collector.spans()
    assert len({span.span_id for span in spans}) == len(spans)
    return dict(Counter(span.name for span in spans))


def instances(collector: Sink) -> dict[str, set[str]]:
    """The instance ids under which each name arrived."""
    found: dict[str, set[str]] = {}
    for request in list(collector.requests):
        for part in request.resource_spans:
            (instance,) = (a.value.string_value for a in part.resource.attributes if a.key == "service.instance.id")
            for scope in part.scope_spans:
                for span in scope.spans:
                    found.setdefault(span.name, set()).add(instance)
    return found


FORK = """
telemetry = init_tracing()
make("parent.before", 100)
{before}
observe_mem0_queue_size(size=7)
with trace_span("parent.open"):
    child = os.fork()
if not child:
    assert QUEUE_SIZE.get() is None
    make("child.own", 100)
    assert telemetry.flush()
    assert telemetry.lost.by_reason() == dict.fromkeys(telemetry.lost.REASONS, 0)
    telemetry.shutdown()
    os._exit(0)
make("parent.after", 100)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert telemetry.flush()
telemetry.shutdown()
"""


@pytest.mark.parametrize("fork_support", ["", "1"])
@pytest.mark.parametrize("before", ["pass", "assert telemetry.flush()", "time.sleep(0.12)"])
def test_a_forked_childs_spans_arrive_once_under_a_name_of_its_own(
    collector: Sink, before: str, fork_support: str
) -> None:
    environment = {"GRPC_ENABLE_FORK_SUPPORT": fork_support} if fork_support else {}
    run(collector, FORK.format(before=before), **environment)
    assert names(collector) == {"parent.before": 100, "parent.open": 1, "child.own": 100, "parent.after": 100}
    found = instances(collector)
    assert found["parent.before"] == found["parent.after"] == found["parent.open"]
    assert len(found["child.own"]) == 1
    assert found["child.own"] != found["parent.before"]


def test_a_forked_child_has_metrics_of_its_own_and_repeats_none_of_its_parents(collector: Sink) -> None:
    program = """
telemetry = init_tracing()
observe_mem0_queue_size(size=7)
telemetry.meter_provider.force_flush()
make("some.work", 1)
telemetry.lost.add("refused", 5)
child = os.fork()
if not child:
    telemetry.meter_provider.force_flush()
    observe_mem0_queue_size(size=8)
    telemetry.shutdown()
    os._exit(0)
os.waitpid(child, 0)
telemetry.shutdown()
"""
    run(collector, program)
    told: dict[str, dict[str, set[int]]] = {}
    for request in collector.metrics:
        for part in request.resource_metrics:
            (instance,) = (a.value.string_value for a in part.resource.attributes if a.key == "service.instance.id")
            for metric in part.scope_metrics[0].metrics:
                points = metric.gauge.data_points or metric.sum.data_points
                told.setdefault(instance, {}).setdefault(metric.name, set()).update(p.as_int for p in points)
    assert sorted(told.values(), key=str) == [
        {"mem0.write_queue_size": {7}, "telemetry.spans.lost": {0, 5}},
        {"mem0.write_queue_size": {8}, "telemetry.spans.lost": {0}},
    ]


def test_a_fork_while_the_collector_hangs_costs_nothing(collector: Sink) -> None:
    collector.answer("hang")
    program = """
telemetry = init_tracing()
make("parent.before", 100)
telemetry.flush(1)
children = []
for _ in range(3):
    child = os.fork()
    if not child:
        make("child.own", 100)
        os._exit(0 if telemetry.flush(20) else 1)
    children.append(child)
assert not telemetry.flush(0.2)
print(os.getpid(), flush=True)
sys.stdin.readline()
for child in children:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert telemetry.flush(20)
telemetry.shutdown()
"""
    with subprocess.Popen(
        [sys.executable, "-c", HELPERS + program],
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector.endpoint}", "PYTHONPATH": "service"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        collector.answer("take")
        process.communicate("go\n", timeout=30)
    assert process.returncode == 0
    assert names(collector) == {"parent.before": 100, "child.own": 300}
    assert len(instances(collector)["child.own"]) == 3


def test_with_grpcs_fork_support_switched_off_a_childs_spans_are_refused_and_counted(collector: Sink) -> None:
    program = """
telemetry = init_tracing()
make("parent.own", 10)
telemetry.flush()
child = os.fork()
if not child:
    make("child.own", 10)
    assert not telemetry.flush(5)
    assert telemetry.lost.by_reason()["refused"] == 10
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
make("parent.own", 10)
telemetry.shutdown()
"""
    run(collector, program, GRPC_ENABLE_FORK_SUPPORT="0")
    assert names(collector) == {"parent.own": 20}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_the_spans_of_multiprocessings_children_arrive_without_a_flush(
    collector: Sink, method: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    script = tmp_path_factory.mktemp("program") / "program.py"
    script.write_text(
        HELPERS
        + f"""
def work():
    init_tracing()
    make("child.own", 10)

if __name__ == "__main__":
    telemetry = init_tracing()
    make("parent.own", 10)
    children = [multiprocessing.get_context("{method}").Process(target=work) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    telemetry.shutdown()
""",
        "utf-8",
    )
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector.endpoint}", "PYTHONPATH": "service"}
    subprocess.run([sys.executable, script], env=environment, check=True, timeout=60)
    assert names(collector) == {"parent.own": 10, "child.own": 30}
    found = instances(collector)
    assert len(found["child.own"]) == 3
    assert not found["child.own"] & found["parent.own"]


def test_after_shutdown_a_second_start_works_with_tracers_made_before(collector: Sink) -> None:
    program = """
from opentelemetry import trace
foreign = trace.get_tracer("opentelemetry.instrumentation.asyncpg")
first = init_tracing()
foreign.start_span("first").end()
first.shutdown()
foreign.start_span("between").end()
assert first.lost.by_reason()["shutdown"] == 1
assert not first.flush()
for _ in range(3):
    again = init_tracing()
    assert again is not first and init_tracing() is again
    foreign.start_span("again").end()
    make("again.own", 1)
    assert again.flush()
    again.shutdown()
"""
    run(collector, program)
    assert names(collector) == {"first": 1, "again": 3, "again.own": 3}
    found = instances(collector)
    assert found["again"] == found["again.own"]
    assert len(found["again"]) == 3


def test_a_second_start_with_other_arguments_says_that_they_are_without_effect(collector: Sink) -> None:
    program = """
import logging
logging.basicConfig(stream=sys.stdout, format="%(message)s")
telemetry = init_tracing()
assert init_tracing() is telemetry
print("different")
assert init_tracing(enable_console=True) is telemetry
telemetry.shutdown()
"""
    before, after = run(collector, program).split("different")
    assert "other arguments" not in before
    assert "other arguments" in after


ENDS = {
    "from several threads at once": """
threads = [threading.Thread(target=call) for _ in range(5) for call in (lambda: telemetry.flush(1), telemetry.shutdown)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
telemetry.shutdown()
""",
    "in a signal's handler, wherever it comes": """
def handler(*_):
    telemetry.flush(5)
    make("in.handler", 1)
    signal.setitimer(signal.ITIMER_REAL, 0.01)  # not before its end: on a slow machine it would never come to one
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.01)
for _ in range(50):
    make("in.main", 20)
    telemetry.flush(5)
signal.signal(signal.SIGALRM, signal.SIG_IGN)
signal.signal(signal.SIGTERM, lambda *_: telemetry.shutdown())
signal.raise_signal(signal.SIGTERM)
telemetry.shutdown()
""",
    "within an event loop": """
import asyncio
async def main():
    telemetry.flush(1)
    telemetry.shutdown()
asyncio.run(main())
""",
    "never": "make('at.end', 10)",
    "at the interpreter's exit": "import atexit; atexit.register(telemetry.shutdown); make('at.end', 10)",
    "by a daemon thread at the exit": """
threading.Thread(target=lambda: [make("for.ever", 1) for _ in iter(int, 1)], daemon=True).start()
time.sleep(0.2)
""",
}


@pytest.mark.parametrize("mode", ["take", "refuse", "hang"])
@pytest.mark.parametrize("end", ENDS)
def test_telemetry_ends_anywhere_without_a_hang_or_an_error(collector: Sink, end: str, mode: str) -> None:
    if mode != "take" and "handler" in end:
        pytest.skip("flushes that wait for a Collector that is away are as long as they say")
    collector.answer(mode)  # type: ignore[arg-type]
    run(collector, 'telemetry = init_tracing()\nmake("some.work", 100)\n' + ENDS[end])
    if mode == "take" and end not in ("never", "by a daemon thread at the exit"):
        assert names(collector)["some.work"] == 100
