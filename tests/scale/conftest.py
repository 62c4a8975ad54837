"""A pair of Prometheus and what belongs to it."""

from collections.abc import Iterator

import pytest

from tests.scale import pair as pairs
from tests.scale.pair import Pair


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two Prometheus, three Collectors, three Alertmanagers."""
    with pairs.running(tmp_path_factory.mktemp("pair")) as running:
        yield running
