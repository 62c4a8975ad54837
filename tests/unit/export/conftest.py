"""A sender of spans, and what stands for the Collector."""

from collections.abc import Iterator

import pytest

from app.observability import export
from app.observability.export import Spool
from app.observability.lost_spans import LostSpans
from app.observability.tracer import Provider, Tracer
from tests.support.made_spans import to
from tools.base.otlp_sink import Sink


@pytest.fixture
def collector(request: pytest.FixtureRequest) -> Iterator[Sink]:
    """What stands for the Collector here, because it must hang and answer what no healthy one would; see BOTH."""
    with Sink(getattr(request, "param", "grpc")).listening() as sink:
        yield sink
        sink.answer("take")


@pytest.fixture
def lost() -> LostSpans:
    return LostSpans()


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def tracer(provider: Provider) -> Tracer:
    return provider.get_tracer("app.observability")


@pytest.fixture
def spool(collector: Sink, provider: Provider, lost: LostSpans) -> Iterator[Spool]:
    spool = Spool(to(collector), provider=provider, lost=lost)
    yield spool
    collector.answer("take")
    spool.shutdown()


@pytest.fixture
def impatient() -> Iterator[pytest.MonkeyPatch]:
    """The sender gives up on an answer at once, until this is undone: do so before the Collector answers again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "_SEND_SECONDS", 0.3)
        patch.setattr(export, "_PROBE_SECONDS", 0.3)
        yield patch
