"""The way of a span out of the process: a Collector that is away, slow or hung costs neither requests nor counts.

    span ends → bytes → queue of its scope → every 100 ms one thread: batch → buffer → OTLP

The stock exporter gives up a batch after some seconds and hides the status code, so that what wraps it can't tell an
outage, which is worth repeating, from a refused batch, which is not; and it repeats a batch whose answer it missed,
which counts it twice.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans

from app.observability import wire
from app.observability.channel import TICK_SECONDS, CallError, Channel, Failure
from app.observability.lost_spans import LostSpans
from app.observability.tracer import Provider

log = logging.getLogger(__name__)

BUFFER_BYTES = 64 * 1024 * 1024  # at some 100 bytes a span an outage of minutes at 50 messages a second

_SEND_SECONDS = 120.0  # long: a stopped Collector takes what its kernel holds once it goes on, and counts it
_PROBE_SECONDS = 2.0
_BACKOFF_SECONDS = (0.25, 0.5, 1.0, 2.0)
_TRIES = 3  # of a call that fails in a way nobody knows
_EXTRA_SENDS = 64  # of the parts of one refused batch: one bad span of 2048 is found within 22


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


class Spool:
    """Sends what ended from a thread of its own, each batch until the Collector took it.

    Args:
        channel: the way to the Collector; closed with it.
        provider: whose spans are sent.
        resource: what they are told to be of, a field of wire.resource().
        lost: where undeliverable spans are counted.
        buffer_bytes: batches kept while the Collector does not answer; the newest are dropped beyond.
        show: is given each batch, as it will leave.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        provider: Provider,
        lost: LostSpans,
        resource: bytes = b"",
        buffer_bytes: int = BUFFER_BYTES,
        show: Callable[[bytes], None] | None = None,
    ) -> None:
        self._channel = channel
        self._provider = provider
        self._lost = lost
        self._resource = resource
        self._limit = buffer_bytes
        self._show = show
        self._buffer: deque[_Batch] = deque()
        self._bytes = 0
        self._taken = 0
        self._asked = 0  # how often somebody wanted everything to be taken now
        self._served = 0
        self._collected = 0.0
        self._changed = threading.Condition()
        self._deadline: float | None = None  # set once by shutdown()
        self._closed = False
        self._away = False  # an outage is going on, and has been logged
        self._thread: threading.Thread | None = None
        self.idle = threading.RLock()  # free while no call is going on: gRPC can't be forked within one
        provider.start(lost)
        self.revive()

    @property
    def taken(self) -> int:
        """Spans taken so far, delivered or not."""
        return self._taken

    @property
    def waiting_seconds(self) -> float:
        """For how long the oldest batch has been waiting for the Collector; 0 where none waits."""
        self.revive()
        with self._changed:
            return time.monotonic() - self._buffer[0].since if self._buffer else 0.0

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until everything that ended is delivered or dropped; False when the time is over first."""
        with self._changed:
            self.revive()
            self._asked += 1
            asked = self._asked
            self._changed.notify_all()
            return self._changed.wait_for(
                lambda: (self._served >= asked or self._closed) and not self._buffer, timeout_millis / 1000
            )

    def shutdown(self, timeout_millis: float = 4000) -> None:
        """Deliver what ended until the deadline, count the rest and what ends later as lost, close the channel."""
        with self._changed:
            if self._deadline is not None:
                return
            self._provider.close(self._lost)
            self.revive()
            self._deadline = time.monotonic() + min(timeout_millis / 1000, 4.0)
            self._changed.notify_all()
        if self._thread:
            self._thread.join(max(0.0, self._deadline - time.monotonic()) + 0.5)
        self._channel.close()
        with self._changed:
            self._closed = True
            self._lost.add("shutdown", sum(batch.spans for batch in self._buffer))
            self._buffer.clear()
            self._changed.notify_all()
        self._collect()  # what ended in another thread while this one closed

    def revive(self) -> None:
        """Start the sender; where it died, what it had in hand is refused: that may be what it died of."""
        with self._changed:
            if self._deadline is not None or (self._thread and self._thread.is_alive()):
                return
            if self._thread:
                log.error("the sender of spans died, starting another")
                self._drop_first()
            thread = threading.Thread(target=self._send_all, name="otlp-spool", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads: whoever asks next tries again
                log.error("the sender of spans can't be started")
            else:
                self._thread = thread

    def _collect(self) -> None:
        """Make batches of what ended until now; never raises."""
        asked = self._asked
        self._collected = time.monotonic()
        waiting = self._provider.waiting
        while waiting > 0:
            spans = 0
            try:
                scopes = self._provider.take()
                spans = sum(len(some) for _, some in scopes)
                if not spans:
                    break
                self._keep(wire.request(self._resource, scopes), spans)
            except BaseException as error:  # MemoryError: it must not end the thread
                log.error("spans can't be made a batch (%s)", type(error).__name__)
                self._lost.add("refused", spans)
                break
            waiting -= spans
        with self._changed:
            self._served = asked
            self._changed.notify_all()

    def _keep(self, body: bytes, spans: int) -> None:
        with self._changed:
            self._taken += spans
            if self._closed:
                self._lost.add("shutdown", spans)
            elif self._bytes + len(body) > self._limit:
                self._lost.add("buffer_full", spans)
            else:
                self._buffer.append(_Batch(body, spans, iter(range(_EXTRA_SENDS))))
                self._bytes += len(body)
        if self._show:
            self._show(body)

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
        while self._in_time():
            try:
                with self._changed:
                    self._changed.wait_for(
                        lambda: self._asked > self._served or self._deadline is not None, TICK_SECONDS
                    )
                    ending = self._deadline is not None
                self._collect()
                while self._buffer:
                    if time.monotonic() - self._collected >= TICK_SECONDS:
                        self._collect()  # the batches of an outage take longer than a turn
                    parts = self._deliver(self._buffer[0])
                    if parts is None:
                        return  # out of time; shutdown() counts what is left
                    self._replace_first(parts)
                if ending:
                    return
            except BaseException as error:  # MemoryError, an exception set from outside, our own mistakes
                log.error("the sender of spans failed (%s)", type(error).__name__)
                self._drop_first()
                time.sleep(TICK_SECONDS)

    def _deliver(self, batch: _Batch) -> list[_Batch] | None:
        """Send one batch until it is accepted or refused; what to send in its place, None when the time is over."""
        attempt = 0
        unknown = 0
        while self._in_time():
            failure: Failure | None = None
            try:
                response = self._send(batch.body, _SEND_SECONDS)
            except CallError as error:
                failure = error.failure
            except Exception as error:  # a channel closed under us, metadata gRPC refuses, no more threads
                unknown += 1
                log.warning("sending spans failed (%s)", type(error).__name__)
            else:
                self._is_away(False)
                self._accepted(response, batch)
                return []
            self._is_away(failure in (Failure.AWAY, Failure.NO_ANSWER))
            if failure is Failure.NO_ANSWER:
                # Taken or not, nobody knows. Repeating at once would count the batch anew at each try of a long hang,
                # so wait until an empty request is answered: at most one batch an outage is in doubt, and none of a
                # hang that is shorter than the deadline.
                self._wait_for_answer()
            elif failure is Failure.AWAY or (failure is None and unknown < _TRIES):
                self._pause(attempt)
                attempt += 1
            elif self._in_time():
                return self._refused(batch, failure)
        return None

    def _send(self, body: bytes, seconds: float) -> bytes:
        with self.idle:
            return self._channel.call(body, self._time_left(seconds), self._collect)  # meanwhile spans go on ending

    def _refused(self, batch: _Batch, failure: Failure | None) -> list[_Batch]:
        """Halves of a batch that was refused for what is in it, so that a bad span costs itself only."""
        parts = batch.halves() if failure is Failure.CONTENT else []
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
        ending = self._deadline is not None
        seconds = _BACKOFF_SECONDS[0 if ending else min(attempt, len(_BACKOFF_SECONDS) - 1)]
        until = time.monotonic() + self._time_left(seconds)
        while (left := until - time.monotonic()) > 0 and ending == (self._deadline is not None):
            with self._changed:
                self._changed.wait(min(left, TICK_SECONDS))
            self._collect()  # meanwhile spans go on ending

    def _in_time(self) -> bool:
        return self._deadline is None or time.monotonic() < self._deadline

    def _time_left(self, seconds: float) -> float:
        if self._deadline is None:
            return seconds
        return max(0.01, min(seconds, self._deadline - time.monotonic()))
