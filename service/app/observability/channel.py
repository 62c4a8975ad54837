"""The two ways to the Collector, OTLP over gRPC and over HTTP; what became of a call is told alike by both."""

import contextlib
import enum
import http.client
import select
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import urlsplit

import grpc

OPTIONS = (("grpc.enable_http_proxy", 0),)  # the machine's proxy is not for telemetry
TICK_SECONDS = 0.1  # a call costs some 500 µs, however many spans are in it
_CONNECT_SECONDS = 2.0
_TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Failure(enum.Enum):
    """Why a call was not accepted."""

    AWAY = "ask again: nothing was taken, and it may be taken later"
    NO_ANSWER = "taken or not, nobody knows"
    CONTENT = "refused for what is in it"
    REFUSED = "refused whatever is in it: no part would fare better"


class CallError(Exception):
    """A call that was not accepted."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.value)
        self.failure = failure


class Channel(Protocol):
    """Calls the Collector; one thread at a time, another may close it."""

    def call(self, body: bytes, seconds: float, meanwhile: Callable[[], None]) -> bytes:
        """Its answer within so many seconds; `meanwhile` is called every TICK_SECONDS.

        Raises:
            CallError: it was not accepted.
            Exception: it could not be made.
        """

    def close(self) -> None:
        """End what is going on; no call comes any more."""


class Grpc:
    """OTLP over gRPC.

    Args:
        endpoint: `host:port`.
        secure: TLS, with the system's certificates.
        headers: metadata of each call, for instance an authorization.
    """

    _FAILURES = {  # noqa: RUF012 - of every other code: the content
        grpc.StatusCode.UNAVAILABLE: Failure.AWAY,
        grpc.StatusCode.RESOURCE_EXHAUSTED: Failure.AWAY,
        grpc.StatusCode.ABORTED: Failure.AWAY,
        grpc.StatusCode.CANCELLED: Failure.AWAY,
        grpc.StatusCode.DEADLINE_EXCEEDED: Failure.NO_ANSWER,
        grpc.StatusCode.UNAUTHENTICATED: Failure.REFUSED,
        grpc.StatusCode.PERMISSION_DENIED: Failure.REFUSED,
        grpc.StatusCode.UNIMPLEMENTED: Failure.REFUSED,
        grpc.StatusCode.NOT_FOUND: Failure.REFUSED,
    }

    def __init__(self, endpoint: str, secure: bool = False, headers: Mapping[str, str] | None = None) -> None:
        # The default grows to two minutes: after an outage the Collector would wait for us.
        options = [("grpc.max_reconnect_backoff_ms", 2000), *OPTIONS]
        self._channel = (
            grpc.secure_channel(endpoint, grpc.ssl_channel_credentials(), options)
            if secure
            else grpc.insecure_channel(endpoint, options)
        )
        self._call = self._channel.unary_unary(_TRACES)
        self._metadata = tuple((headers or {}).items())

    def call(self, body: bytes, seconds: float, meanwhile: Callable[[], None]) -> bytes:
        """See Channel."""
        # A future: of a long call nobody waits for the end before a fork, and gRPC can't be forked while a thread is
        # within a blocking one.
        try:
            call = self._call.future(body, timeout=seconds, metadata=self._metadata)
            while True:
                try:
                    response: bytes = call.result(timeout=TICK_SECONDS)
                except grpc.FutureTimeoutError:
                    meanwhile()
                else:
                    return response
        except grpc.RpcError as error:
            raise CallError(self._FAILURES.get(error.code(), Failure.CONTENT)) from None
        except grpc.FutureCancelledError:
            raise CallError(Failure.AWAY) from None

    def close(self) -> None:
        """See Channel."""
        self._channel.close()


class Http:
    """OTLP over HTTP, protobuf; one connection that is kept. No proxy of the machine's.

    Args:
        url: of the signal, for instance `http://127.0.0.1:4318/v1/traces`; `https` with the system's certificates.
        headers: of each request, for instance an authorization.
    """

    # https://opentelemetry.io/docs/specs/otlp/#failures-1
    _AGAIN = frozenset({429, 502, 503, 504})
    _WHATEVER = frozenset({401, 403, 404, 405, 415})

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        parts = urlsplit(url)
        place = (parts.hostname or "", parts.port)
        self._path = parts.path
        self._headers = {"Content-Type": "application/x-protobuf"} | dict(headers or {})
        self._connection = (
            http.client.HTTPSConnection(*place, timeout=_CONNECT_SECONDS, context=ssl.create_default_context())
            if parts.scheme == "https"
            else http.client.HTTPConnection(*place, timeout=_CONNECT_SECONDS)
        )

    def call(self, body: bytes, seconds: float, meanwhile: Callable[[], None]) -> bytes:
        """See Channel."""
        end = time.monotonic() + seconds
        try:
            self._ask(body, seconds)
            self._wait(end, meanwhile)
            response = self._connection.getresponse()
            answer = response.read()
        except CallError:
            self._connection.close()
            raise
        except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: closed by another thread
            self._connection.close()
            late = isinstance(error, TimeoutError) and time.monotonic() >= end
            raise CallError(Failure.NO_ANSWER if late else Failure.AWAY) from None
        if response.status < http.client.MULTIPLE_CHOICES:
            return answer
        if response.status in self._AGAIN:
            raise CallError(Failure.AWAY)
        raise CallError(Failure.REFUSED if response.status in self._WHATEVER else Failure.CONTENT)

    def close(self) -> None:
        """See Channel."""
        if (sock := self._connection.sock) is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes who waits for an answer
            self._connection.close()

    def _ask(self, body: bytes, seconds: float) -> None:
        if self._readable(0):  # closed by the other side while it was idle: what is sent there is lost
            self._connection.close()
        if self._connection.sock is None:
            self._connection.timeout = min(seconds, _CONNECT_SECONDS)
            self._connection.connect()
        self._connection.sock.settimeout(seconds)
        self._connection.request("POST", self._path, body, self._headers)

    def _wait(self, end: float, meanwhile: Callable[[], None]) -> None:
        while not self._readable(TICK_SECONDS):
            meanwhile()
            if time.monotonic() >= end:
                raise CallError(Failure.NO_ANSWER)

    def _readable(self, seconds: float) -> bool:
        sock = self._connection.sock
        return sock is not None and bool(select.select([sock], [], [], seconds)[0])
