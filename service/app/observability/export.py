"""The way of a span out of the process: a Collector that is away, slow or hung costs neither requests nor counts.

    span ends → batch of at most 64 → cleaned → encoded → buffer of bytes → one sender thread → OTLP/gRPC

The stock exporter gives up a batch after some seconds and hides the status code, so that what wraps it can't tell an
outage, which is worth repeating, from a refused batch, which is not; and it repeats a batch whose answer it missed,
which counts it twice.
"""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence

import grpc
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExporter,
    SpanExportResult,
)

from app.observability.allowlist import clean

log = logging.getLogger(__name__)

QUEUE_SPANS = 16_384  # finished spans waiting to be encoded: a burst of 1000 requests
BATCH_SPANS = 64  # encoding holds the interpreter's lock: small batches keep the request latency's tail short
BATCH_DELAY_MS = 100
BUFFER_BYTES = 64 * 1024 * 1024  # at some 100 bytes a span an outage of minutes at 50 messages a second

CHANNEL = (("grpc.enable_http_proxy", 0),)  # the machine's proxy is not for telemetry
_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_SEND_SECONDS = 120.0  # long: a stopped Collector takes what its kernel holds once it goes on, and counts it
_PROBE_SECONDS = 2.0
_BACKOFF_SECONDS = (0.25, 0.5, 1.0, 2.0)
_LOG_EVERY_SECONDS = 60.0
_REPEATED = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
}


class LostSpans:
    """Counts the spans that could not be delivered, by reason, and says so in the log at most once a minute."""

    REASONS = ("queue_full", "buffer_full", "refused", "shutdown")

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._logged_at = 0.0

    def add(self, reason: str, spans: int) -> None:
        """Count `spans` lost for one of REASONS."""
        if not spans:
            return
        with self._lock:
            self._counts[reason] += spans
            due = time.monotonic() - self._logged_at > _LOG_EVERY_SECONDS
            if due:
                self._logged_at = time.monotonic()
        if due:
            log.warning("spans lost so far: %s", self.by_reason())

    def by_reason(self) -> dict[str, int]:
        """Lost spans since the start, every reason present."""
        with self._lock:
            return {reason: self._counts[reason] for reason in self.REASONS}


class Spool(SpanExporter):
    """Encodes cleaned spans at once and sends them from a thread of its own, each batch until the Collector took it.

    Args:
        endpoint: `host:port` of the Collector's OTLP/gRPC receiver.
        secure: TLS with the system's certificates.
        headers: gRPC metadata for each call, for instance an authorization.
        lost: where undeliverable spans are counted.
        buffer_bytes: encoded spans kept while the Collector does not answer; the newest are dropped beyond.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        lost: LostSpans,
        secure: bool = False,
        headers: Mapping[str, str] | None = None,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> None:
        # The default grows to two minutes: after an outage the Collector would wait for us.
        options = [("grpc.max_reconnect_backoff_ms", 2000), *CHANNEL]
        self._channel = (
            grpc.secure_channel(endpoint, grpc.ssl_channel_credentials(), options)
            if secure
            else grpc.insecure_channel(endpoint, options)
        )
        self._call = self._channel.unary_unary(_METHOD)
        self._metadata = tuple((headers or {}).items())
        self._lost = lost
        self._limit = buffer_bytes
        self._buffer: deque[tuple[bytes, int]] = deque()
        self._bytes = 0
        self._taken = 0
        self._changed = threading.Condition()
        self._deadline: float | None = None  # set once by shutdown()
        self._away = False  # an outage is going on, and has been logged
        self._thread = threading.Thread(target=self._send_all, name="otlp-spool", daemon=True)
        self._thread.start()

    @property
    def taken(self) -> int:
        """Spans handed over so far, delivered or not."""
        return self._taken

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Clean, encode and buffer; never blocks on the network."""
        body = encode_spans([clean(span) for span in spans]).SerializeToString()
        with self._changed:
            self._taken += len(spans)
            if self._deadline is not None:
                self._lost.add("shutdown", len(spans))
                return SpanExportResult.FAILURE
            if self._bytes + len(body) > self._limit:
                self._lost.add("buffer_full", len(spans))
                return SpanExportResult.FAILURE
            self._buffer.append((body, len(spans)))
            self._bytes += len(body)
            self._changed.notify_all()
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until everything taken is delivered or dropped; False when the time is over first."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._buffer, timeout_millis / 1000)

    def shutdown(self, timeout_millis: float = 4000) -> None:
        """Deliver what is buffered until the deadline, count the rest as lost, close the channel."""
        with self._changed:
            if self._deadline is not None:
                return
            self._deadline = time.monotonic() + min(timeout_millis / 1000, 4.0)
            self._changed.notify_all()
        self._thread.join(max(0.0, self._deadline - time.monotonic()) + 0.5)
        self._channel.close()
        with self._changed:
            self._lost.add("shutdown", sum(count for _, count in self._buffer))
            self._buffer.clear()

    def _send_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._buffer or self._deadline is not None)
                if not self._buffer:
                    return
                body, spans = self._buffer[0]
            if not self._deliver(body, spans):
                return  # out of time; shutdown() counts what is left
            with self._changed:
                if self._buffer:
                    self._buffer.popleft()
                    self._bytes -= len(body)
                self._changed.notify_all()

    def _deliver(self, body: bytes, spans: int) -> bool:
        """Send one batch until it is accepted or refused; False when the shutdown's deadline is over."""
        attempt = 0
        while self._in_time():
            try:
                self._accepted(self._call(body, timeout=self._time_left(_SEND_SECONDS), metadata=self._metadata))
                self._is_away(False)
                return True
            except grpc.RpcError as error:
                code = error.code()
            except ValueError:  # the channel was closed under us
                return False
            self._is_away(code in _REPEATED or code is grpc.StatusCode.DEADLINE_EXCEEDED)
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                # Taken or not, nobody knows. Repeating at once would count the batch anew at each try of a long hang,
                # so wait until an empty request is answered: at most one batch an outage is in doubt, and none of a
                # hang that is shorter than the deadline.
                self._wait_for_answer()
            elif code in _REPEATED:
                self._pause(attempt)
                attempt += 1
            else:
                self._lost.add("refused", spans)
                return True
        return False

    def _accepted(self, response: bytes) -> None:
        self._lost.add("refused", ExportTraceServiceResponse.FromString(response).partial_success.rejected_spans)

    def _is_away(self, away: bool) -> None:
        if away and not self._away:
            log.warning("the Collector takes no spans, keeping them")
        elif self._away and not away:
            log.info("the Collector takes spans again")
        self._away = away

    def _wait_for_answer(self) -> None:
        attempt = 0
        while self._in_time():
            try:
                self._call(b"", timeout=self._time_left(_PROBE_SECONDS), metadata=self._metadata)
                return
            except grpc.RpcError:
                self._pause(attempt)
                attempt += 1
            except ValueError:
                return

    def _pause(self, attempt: int) -> None:
        seconds = _BACKOFF_SECONDS[min(attempt, len(_BACKOFF_SECONDS) - 1)]
        with self._changed:
            if self._deadline is None:
                self._changed.wait_for(lambda: self._deadline is not None, seconds)
                return
        time.sleep(self._time_left(_BACKOFF_SECONDS[0]))

    def _in_time(self) -> bool:
        return self._deadline is None or time.monotonic() < self._deadline

    def _time_left(self, seconds: float) -> float:
        if self._deadline is None:
            return seconds
        return max(0.01, min(seconds, self._deadline - time.monotonic()))


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
        self._ended = 0
        self._stopped = False

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a finished span."""
        if self._stopped:
            self._spans_lost.add("shutdown", 1)
            return
        if self._ended - self._spool.taken >= QUEUE_SPANS:
            self._spans_lost.add("queue_full", 1)  # the processor drops its oldest for this one
        else:
            self._ended += 1
        super().on_end(span)

    def shutdown(self) -> None:
        """Hand everything over; spans that end later are counted as lost."""
        self._stopped = True
        super().shutdown()  # type: ignore[no-untyped-call]


class CleanConsoleExporter(ConsoleSpanExporter):
    """Prints spans for debugging, cleaned like those that leave."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Print the cleaned spans."""
        return super().export([clean(span) for span in spans])
