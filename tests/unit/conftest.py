"""No unit test starts a process. Telemetry of this one, once: providers are global by OpenTelemetry's design."""

import os
import sys
from collections.abc import Iterator

import pytest

from app.observability.telemetry import Telemetry, init_tracing
from tools.base.otlp_sink import Sink

# What Python's audit hooks say of each way to start a process.
STARTS = ("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen")


class ProcessStartedError(BaseException):
    """A unit test started a process. No Exception, so that no code under test takes it for an error of its own."""


def refuse(event: str, _: tuple[object, ...]) -> None:
    """An audit hook: for as long as a unit test runs, no process starts."""
    if _running and event in STARTS:
        raise ProcessStartedError(f"{event}: unit tests start no process; tests/README.md says where such tests belong")


_running: list[str] = []
sys.addaudithook(refuse)


@pytest.fixture(autouse=True, scope="module")
def no_process(request: pytest.FixtureRequest) -> Iterator[None]:
    """Refuses processes in this folder only: a hook stays for good, and other folders' tests share the process."""
    _running.append(request.node.name)
    yield
    _running.clear()


@pytest.fixture(scope="session")
def sink() -> Iterator[Sink]:
    """Where this process's spans go."""
    with Sink().listening() as sink:
        yield sink


@pytest.fixture(scope="session")
def telemetry(sink: Sink) -> Iterator[Telemetry]:
    """Telemetry that exports to the sink."""
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://{sink.endpoint}"
    telemetry = init_tracing()
    yield telemetry
    telemetry.shutdown()
