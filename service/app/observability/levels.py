"""The two OpenTelemetry metrics: a level, and the spans that were lost, which therefore can't be spans."""

import time
from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from app.observability.lost_spans import LostSpans

_STALE_SECONDS = 30.0


class Level:
    """The last measurement of a level; unknown when it is older than 30 s, so that a stuck poller shows as a gap."""

    def __init__(self) -> None:
        self._measured: tuple[float, int] | None = None

    def set(self, value: int) -> None:
        """Remember a measurement made now."""
        self._measured = (time.monotonic(), value)

    def forget(self) -> None:
        """Know nothing, until the next measurement."""
        self._measured = None

    def get(self) -> int | None:
        """The value, or None when nobody measured it lately."""
        if self._measured is None or time.monotonic() - self._measured[0] > _STALE_SECONDS:
            return None
        return self._measured[1]


QUEUE_SIZE = Level()  # set by the process's poller, read by the metric reader's thread


def create_instruments(provider: MeterProvider, lost: LostSpans, look: Callable[[], None]) -> None:
    """Register the contract's two instruments; whenever they are read, `look` is called: is the sender well?"""
    meter = provider.get_meter("app.observability")

    def queue_size(_: CallbackOptions) -> Iterable[Observation]:
        size = QUEUE_SIZE.get()
        return [] if size is None else [Observation(size)]

    def spans_lost(_: CallbackOptions) -> Iterable[Observation]:
        look()
        return [Observation(count, {"reason": reason}) for reason, count in lost.by_reason().items()]

    meter.create_observable_gauge("mem0.write_queue_size", [queue_size], unit="{item}")
    meter.create_observable_counter("telemetry.spans.lost", [spans_lost], unit="{span}")
