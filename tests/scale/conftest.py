"""A pair of Prometheus, and Thanos over it, which only `make test-scale` builds."""

from collections.abc import Iterator

import pytest

from tests.scale import pair as pairs
from tests.scale import thanos
from tests.scale.pair import Pair
from tests.scale.thanos import Query
from tools.stack import programs


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two Prometheus, three Collectors, three Alertmanagers."""
    with pairs.running(tmp_path_factory.mktemp("pair")) as running:
        yield running


@pytest.fixture(scope="session")
def program() -> str:
    """Thanos; without it the test is skipped."""
    found = programs.built("thanos")
    return str(found or pytest.skip("thanos is not built: `make test-scale` builds it and runs this test"))


@pytest.fixture(scope="module")
def query(program: str, pair: Pair) -> Iterator[Query]:
    """The pair with Thanos over it."""
    with thanos.over(pair, program) as running:
        yield running
