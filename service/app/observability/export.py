"""The way of a span out of the process: a Collector that is away, slow or hung costs neither requests nor counts.

    span ends → batch of at most 64 → cleaned → encoded → buffer of bytes → one sender thread → OTLP/gRPC

The stock exporter gives up a batch after some seconds and hides the status code, so that what wraps it can't tell an
outage, which is worth repeating, from a refused batch, which is not; and it repeats a batch whose answer it missed,
which counts it twice.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import grpc
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import (
    SpanExporter,
    SpanExportResult,
)

from app.observability.allowlist import clean
from app.observability.lost_spans import LostSpans

log = logging.getLogger(__name__)

BUFFER_BYTES = 64 * 1024 * 1024  # at some 100 bytes a span an outage of minutes at 50 messages a second

CHANNEL = (("grpc.enable_http_proxy", 0),)  # the machine's proxy is not for telemetry
_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_SEND_SECONDS = 120.0  # long: a stopped Collector takes what its kernel holds once it goes on, and counts it
_PROBE_SECONDS = 2.0
_BACKOFF_SECONDS = (0.25, 0.5, 1.0, 2.0)
_TRIES = 3  # of a call that fails in a way nobody knows
_EXTRA_SENDS = 32  # of the parts of one refused batch: one bad span of 64 is found within 12
_YEAR_NANOSECONDS = 366 * 24 * 3600 * 10**9
_REPEATED = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
}
_NOT_FOR_THE_CONTENT = {  # refused whatever is in it: no part would fare better
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.NOT_FOUND,
}


@dataclass(slots=True)
class _Batch:
    body: bytes
    spans: int
    extra_sends: Iterator[int]  # shared with the parts it is cut into
    since: float = field(default_factory=time.monotonic)

    def halves(self) -> "list[_Batch]":
        """Two batches, to find what the Collector refuses; none when there is one span, or enough was tried."""
        if self.spans < 2 or next(self.extra_sends, None) is None or next(self.extra_sends, None) is None:
            return []
        singles = [
            ExportTraceServiceRequest(
                resource_spans=[
                    ResourceSpans(resource=part.resource, scope_spans=[ScopeSpans(scope=scope.scope, spans=[span])])
                ]
            ).SerializeToString()
            for part in ExportTraceServiceRequest.FromString(self.body).resource_spans
            for scope in part.scope_spans
            for span in scope.spans
        ]
        middle = len(singles) // 2
        return [  # protobuf messages, one after the other, are one message
            _Batch(b"".join(some), len(some), self.extra_sends) for some in (singles[:middle], singles[middle:])
        ]


class Spool(SpanExporter):
    """Encodes cleaned spans at once and sends them from a thread of its own, each batch until the Collector took it.

    Args:
        endpoint: `host:port` of the Collector's OTLP/gRPC receiver.
        secure: TLS with the system's certificates.
        headers: gRPC metadata for each call, for instance an authorization.
        lost: where undeliverable spans are counted.
        resource: whose spans they are; none: each span's own.
        buffer_bytes: encoded spans kept while the Collector does not answer; the newest are dropped beyond.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        lost: LostSpans,
        resource: Resource | None = None,
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
        self._resource = resource
        self._limit = buffer_bytes
        self._buffer: deque[_Batch] = deque()
        self._bytes = 0
        self._taken = 0
        self._changed = threading.Condition()
        self._deadline: float | None = None  # set once by shutdown()
        self._away = False  # an outage is going on, and has been logged
        self._thread: threading.Thread | None = None
        self._unusable = False

    @property
    def taken(self) -> int:
        """Spans handed over so far, delivered or not."""
        return self._taken

    @property
    def waiting_seconds(self) -> float:
        """For how long the oldest encoded span has been waiting for the Collector; 0 where none waits."""
        with self._changed:
            return time.monotonic() - self._buffer[0].since if self._buffer else 0.0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Clean, encode and buffer; never blocks on the network, never raises. A span that can't be sent is refused."""
        try:
            body, good = self._encoded(spans)
        except BaseException as error:  # MemoryError, or what somebody's attribute raises: it must not end the thread
            log.error("spans can't be encoded (%s)", type(error).__name__)
            body, good = b"", 0
        with self._changed:
            self._taken += len(spans)
            self._lost.add("refused", len(spans) - good)
            reason = self._no_room_for(body) if good else None
            if reason:
                self._lost.add(reason, good)
            elif good:
                self._revive()
                self._buffer.append(_Batch(body, good, iter(range(_EXTRA_SENDS))))
                self._bytes += len(body)
            self._changed.notify_all()
        return SpanExportResult.FAILURE if reason or good < len(spans) else SpanExportResult.SUCCESS

    def give_up(self, spans: int, reason: str) -> None:
        """Count spans lost that will never be handed over."""
        with self._changed:
            self._taken += spans
            self._lost.add(reason, spans)
            self._changed.notify_all()

    def wait_until_taken(self, spans: int, seconds: float) -> bool:
        """Wait until so many spans were handed over since the start."""
        with self._changed:
            return self._changed.wait_for(lambda: self._taken >= spans, seconds)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until everything taken is delivered or dropped; False when the time is over first."""
        with self._changed:
            self._revive()
            return self._changed.wait_for(lambda: not self._buffer, timeout_millis / 1000)

    def shutdown(self, timeout_millis: float = 4000) -> None:
        """Deliver what is buffered until the deadline, count the rest as lost, close the channel."""
        with self._changed:
            if self._deadline is not None:
                return
            self._revive()
            self._deadline = time.monotonic() + min(timeout_millis / 1000, 4.0)
            self._changed.notify_all()
        if self._thread:
            self._thread.join(max(0.0, self._deadline - time.monotonic()) + 0.5)
        self._channel.close()
        with self._changed:
            self._lost.add("shutdown", sum(batch.spans for batch in self._buffer))
            self._buffer.clear()
            self._changed.notify_all()

    def _encoded(self, spans: Sequence[ReadableSpan]) -> tuple[bytes, int]:
        """The request, and how many spans are in it: all, or those that can be encoded."""
        try:
            return self._encode(spans), len(spans)
        except Exception:  # whatever one span's times, ids or values raise
            good = [span for span in spans if self._can_be_encoded(span)]
            return self._encode(good), len(good)

    def _encode(self, spans: Sequence[ReadableSpan]) -> bytes:
        for span in spans:
            if abs(span.end_time - span.start_time) > _YEAR_NANOSECONDS:  # type: ignore[operator]
                raise ValueError("a span of more than a year would spoil its histogram's sum")
        body: bytes = encode_spans([clean(span, self._resource) for span in spans]).SerializeToString()
        return body

    def _can_be_encoded(self, span: ReadableSpan) -> bool:
        try:
            self._encode([span])
        except Exception:
            return False
        return True

    def refuse_all(self) -> None:
        """Take no spans from now on, but count them."""
        self._unusable = True

    def _no_room_for(self, body: bytes) -> str | None:
        if self._unusable:
            return "refused"
        if self._deadline is not None:
            return "shutdown"
        return "buffer_full" if self._bytes + len(body) > self._limit else None

    def _revive(self) -> None:
        """Start the sender; where it died, what it had in hand is refused: that may be what it died of."""
        if self._deadline is not None or (self._thread and self._thread.is_alive()):
            return
        if self._thread:
            log.error("the sender of spans died, starting another")
            self._drop_first()
        thread = threading.Thread(target=self._send_all, name="otlp-spool", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads: the next batch tries again
            log.error("the sender of spans can't be started")
        else:
            self._thread = thread

    def _drop_first(self) -> None:
        with self._changed:
            if self._buffer:
                self._lost.add("refused", self._buffer[0].spans)
                self._replace_first([])

    def _replace_first(self, parts: list[_Batch]) -> None:
        with self._changed:
            if self._buffer:
                self._bytes -= len(self._buffer.popleft().body)
                self._buffer.extendleft(reversed(parts))
                self._bytes += sum(len(part.body) for part in parts)
            self._changed.notify_all()

    def _send_all(self) -> None:
        while True:
            try:
                with self._changed:
                    self._changed.wait_for(lambda: self._buffer or self._deadline is not None)
                    if not self._buffer:
                        return
                    batch = self._buffer[0]
                if (parts := self._deliver(batch)) is None:
                    return  # out of time; shutdown() counts what is left
                self._replace_first(parts)
            except BaseException as error:  # MemoryError, an exception set from outside, our own mistakes
                log.error("the sender of spans failed (%s)", type(error).__name__)
                if not self._buffer:
                    return  # nothing in hand that it could be about; the next batch starts another
                self._drop_first()

    def _deliver(self, batch: _Batch) -> list[_Batch] | None:
        """Send one batch until it is accepted or refused; what to send in its place, None when the time is over."""
        attempt = 0
        unknown = 0
        while self._in_time():
            code: grpc.StatusCode | None
            try:
                response = self._send(batch.body, _SEND_SECONDS)
            except grpc.RpcError as error:
                code = error.code()
            except grpc.FutureCancelledError:
                code = grpc.StatusCode.CANCELLED
            except Exception as error:  # a channel closed under us, metadata gRPC refuses, no more threads
                code = None
                unknown += 1
                log.warning("sending spans failed (%s)", type(error).__name__)
            else:
                self._is_away(False)
                self._accepted(response, batch)
                return []
            self._is_away(code in _REPEATED or code is grpc.StatusCode.DEADLINE_EXCEEDED)
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                # Taken or not, nobody knows. Repeating at once would count the batch anew at each try of a long hang,
                # so wait until an empty request is answered: at most one batch an outage is in doubt, and none of a
                # hang that is shorter than the deadline.
                self._wait_for_answer()
            elif code in _REPEATED or (code is None and unknown < _TRIES):
                self._pause(attempt)
                attempt += 1
            elif self._in_time():
                return self._refused(batch, code)
        return None

    def _send(self, body: bytes, seconds: float) -> bytes:
        # A future: gRPC can't be forked while a thread is within a blocking call.
        call = self._call.future(body, timeout=self._time_left(seconds), metadata=self._metadata)
        response: bytes = call.result()
        return response

    def _refused(self, batch: _Batch, code: grpc.StatusCode | None) -> list[_Batch]:
        """Halves of a batch that was refused for what is in it, so that a bad span costs itself only."""
        parts = [] if code is None or code in _NOT_FOR_THE_CONTENT else batch.halves()
        if not parts:
            self._lost.add("refused", batch.spans)
        return parts

    def _accepted(self, response: bytes, batch: _Batch) -> None:
        try:
            rejected = ExportTraceServiceResponse.FromString(response).partial_success.rejected_spans
        except Exception:  # it said yes; sending again would count twice
            log.warning("the Collector's answer can't be read")
        else:
            self._lost.add("refused", min(max(rejected, 0), batch.spans))

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
                self._send(b"", _PROBE_SECONDS)
            except Exception:
                self._pause(attempt)
                attempt += 1
            else:
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
