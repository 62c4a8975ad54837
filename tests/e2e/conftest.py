"""The whole stack of `make up`, on free ports, once for the files that have none of their own."""

from collections.abc import Iterator

import pytest

from tests.support.backend import Backend


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """All of it, and all real but WhatsApp and the hosted models, which the simulator plays."""
    backend = Backend(tmp_path_factory.mktemp("stack"), environment={"REPLIES_PER_SENDER_PER_MINUTE": "1000"})
    backend.stack.up()
    yield backend
    backend.http.close()
    backend.stack.remove()
