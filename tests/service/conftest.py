"""One service, worker, PostgreSQL, Redis and simulator for the whole folder; each test has patients of its own."""

from collections.abc import Iterator

import pytest

from tests.support.backend import Backend
from tools.base.otlp_sink import Sink

HOSTILE_ENVIRONMENT = {  # the whole folder runs under it: none of it may change anything
    "OTEL_PROPAGATORS": "none",
    "OTEL_TRACES_SAMPLER": "always_off",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "1",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "2",
    "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=same",
    "OTEL_SEMCONV_STABILITY_OPT_IN": "",
}


@pytest.fixture(scope="package")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A running backend; a test that stops a part of it starts it again."""
    sink = Sink()
    sink.open()
    settings = HOSTILE_ENVIRONMENT | {
        "WEBHOOK_JWT_KEY": "a-key-of-32-bytes-for-evolution!",
        "WEBHOOK_MAX_BODY_BYTES": "8000000",
        "KEPT_DELIVERIES": "5",
        "KEPT_BYTES": "100000",
    }
    backend = Backend(tmp_path_factory.mktemp("backend"), sink, settings)
    backend.stack.up(only=("postgres", "redis", "simulator", "worker", "service"))
    yield backend
    backend.http.close()
    backend.stack.remove()
    sink.close()


@pytest.fixture(autouse=True)
def healthy(backend: Backend) -> Iterator[None]:
    """Everything is up again after each test, and nothing misbehaves."""
    yield
    assert backend.sink is not None
    backend.sink.answer("take")
    for name in ("postgres", "redis", "simulator", "worker", "service"):
        if backend.stack.pid(name) is None:
            backend.stack.start(name)
    backend.fault(send_text=None, embeddings=None, chat=None)
