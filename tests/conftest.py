"""For all tests."""

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # before grpc is imported: it warns at each program that a test starts

import pytest
from xdist.remote import Producer

from tests.support.schedule import Schedule, longest_first


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Schedule:
    """Whatever `--dist` says: tests that share a stack belong to one worker."""
    return Schedule(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Several workers begin with what takes longest."""
    if hasattr(config, "workerinput"):
        longest_first(items)
