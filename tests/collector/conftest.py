"""The Collector that the tests of one module share."""

from collections.abc import Iterator

import pytest

from tests.collector.bench import Bench
from tools.base.otlp_sink import Sink
from tools.replay.collector import Collector


@pytest.fixture(scope="module")
def store() -> Iterator[Sink]:
    """A trace store that takes everything until told otherwise."""
    with Sink().listening() as sink:
        yield sink


@pytest.fixture(scope="module")
def bench(store: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The real Collector with the shipped YAML."""
    collector = Collector(tmp_path_factory.mktemp("collector"), store.endpoint)
    with collector.running():
        yield Bench(collector, store)
