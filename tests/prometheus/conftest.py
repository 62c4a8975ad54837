"""The Collector and Prometheus as `make up` runs them, with the files that are shipped but for the addresses."""

from collections.abc import Iterator

import httpx
import pytest

from tests.prometheus.monitored import Monitored
from tools.stack.ports import Ports
from tools.stack.stack import Stack


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    """Both at the shipped intervals, 5 s each; traces go nowhere."""
    stack = Stack(tmp_path_factory.mktemp("monitored"), Ports.free())
    with httpx.Client(timeout=10, trust_env=False) as client:
        try:
            stack.up(only=("otel-collector", "prometheus"))
            yield Monitored(stack, client)
        finally:
            stack.remove()
