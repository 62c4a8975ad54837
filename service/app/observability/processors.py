"""What takes a span when it ends: batches for the exporter, and lines for a terminal."""

import logging
import threading
from collections.abc import Sequence

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExportResult,
)

from app.observability.allowlist import clean
from app.observability.export import Spool
from app.observability.lost_spans import LostSpans

log = logging.getLogger(__name__)

QUEUE_SPANS = 16_384  # finished spans waiting to be encoded: a burst of 1000 requests
BATCH_SPANS = 64  # encoding holds the interpreter's lock: small batches keep the request latency's tail short
BATCH_DELAY_MS = 100


class CountingBatchProcessor(BatchSpanProcessor):
    """The SDK's batch processor, which drops silently when its queue is full, with the drops counted."""

    def __init__(self, spool: Spool, lost: LostSpans) -> None:
        super().__init__(
            spool,
            max_queue_size=QUEUE_SPANS,
            schedule_delay_millis=BATCH_DELAY_MS,
            max_export_batch_size=BATCH_SPANS,
        )
        self._spool = spool
        self._spans_lost = lost
        self._ended = 0  # and queued
        self._stopped = False
        self._lock = threading.RLock()  # a signal's handler may end spans while this thread ends one

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a finished span."""
        with self._lock:
            if self._stopped:
                self._spans_lost.add("shutdown", 1)
                return
            self._revive()
            if self._ended - self._spool.taken >= QUEUE_SPANS:
                self._spans_lost.add("queue_full", 1)  # the processor would drop its oldest, uncounted
                return
            self._ended += 1
            self._batch_processor.emit(span)  # the SDK's on_end() would drop one that is not sampled, uncounted

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        """Wait until what ended is encoded. The SDK's has no time limit and deadlocks within a signal's handler."""
        with self._lock:
            self._revive()
            ended = self._ended
        return self._spool.wait_until_taken(ended, (30_000 if timeout_millis is None else timeout_millis) / 1000)

    def shutdown(self) -> None:
        """Hand everything over within some 9 seconds; spans that end later are counted as lost."""
        with self._lock:
            if self._stopped:
                return
            self._revive()
            self._stopped = True
        self._batch_processor.shutdown(timeout_millis=4500)
        with self._lock:
            self._spool.give_up(self._ended - self._spool.taken, "shutdown")

    def abandon(self) -> None:
        """In the child of a fork, before the SDK starts this one's thread there: its spans are the parent's."""
        self._batch_processor._shutdown = True

    def _revive(self) -> None:
        """Where the SDK's thread died, count what it had in hand, and start another."""
        batches = self._batch_processor
        if self._stopped or batches._worker_thread.is_alive():
            return
        log.error("the thread that encodes spans died, starting another")
        self._spool.give_up(self._ended - self._spool.taken - len(batches._queue), "refused")
        thread = threading.Thread(target=batches.worker, name="OtelBatchSpanRecordProcessor", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads: the next span tries again
            log.error("the thread that encodes spans can't be started")
        else:
            batches._worker_thread = thread


class CleanConsoleExporter(ConsoleSpanExporter):
    """Prints spans for debugging, cleaned like those that leave."""

    def __init__(self, resource: Resource | None = None) -> None:
        super().__init__()
        self._resource = resource

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Print the cleaned spans."""
        return super().export([clean(span, self._resource) for span in spans])
