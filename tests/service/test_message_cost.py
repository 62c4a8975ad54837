"""What telemetry adds to a message, in what no load moves: the Python functions that are called for it."""

from pathlib import Path

from tests.support.backend import Backend
from tools.bench.messages import calls

MESSAGES = 60
BOUND = 1000  # with the SDK's tracer 1 900


def test_telemetry_adds_no_more_than_so_many_calls_to_a_message(backend: Backend, tmp_path: Path) -> None:
    found = {name: calls(backend.stack, name, MESSAGES, tmp_path / name) for name in ("none", "ours")}
    assert found["ours"] - found["none"] < BOUND
