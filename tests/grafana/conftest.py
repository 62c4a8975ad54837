"""The dashboards, and a Prometheus that has values for them."""

from collections.abc import Iterator

import pytest

from tools.base.prometheus import Prometheus
from tools.check.dashboard_samples import filled


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """The filled one."""
    with filled(tmp_path_factory.mktemp("filled")) as one:
        yield one
