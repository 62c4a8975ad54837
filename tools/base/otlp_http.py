"""OTLP over HTTP, protobuf, on the side that takes: handlers as gRPC calls them, their codes as statuses."""

import contextlib
import gzip
import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NoReturn

import grpc

Handle = Callable[[bytes, Any], bytes]
"""Takes a body and a context with gRPC's `abort`."""

# https://opentelemetry.io/docs/specs/otlp/#otlphttp-response
STATUS = {grpc.StatusCode.UNAVAILABLE: 503, grpc.StatusCode.INVALID_ARGUMENT: 400}


class _Context:
    """Of a call: keeps the status that a handler ends it with."""

    status = 200

    def abort(self, code: grpc.StatusCode, _: str) -> NoReturn:
        self.status = STATUS[code]
        raise InterruptedError


class HttpServer:
    """Serves until it is stopped; connections are kept.

    Args:
        port: 0 for a free one.
        handlers: by path; others are 404.
    """

    def __init__(self, port: int, handlers: Mapping[str, Handle]) -> None:
        self._open = set[socket.socket]()
        self._server = _Server(("127.0.0.1", port), self._handler(handlers))
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def stop(self, grace: float = 0) -> None:  # noqa: ARG002 - as gRPC's
        """Nothing listens any more, and whoever was connected is not."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _handler(self, handlers: Mapping[str, Handle]) -> type[BaseHTTPRequestHandler]:
        connections = self._open

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                connections.add(self.connection)

            def finish(self) -> None:
                connections.discard(self.connection)
                with contextlib.suppress(OSError):
                    super().finish()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers["Content-Encoding"] == "gzip":
                    body = gzip.decompress(body)
                handle = handlers.get(self.path)
                context, answer = _Context(), b""
                if handle is None:
                    context.status = 404
                else:
                    with contextlib.suppress(InterruptedError):
                        answer = handle(body, context)
                with contextlib.suppress(OSError):  # who asked may have gone
                    self.send_response(context.status)
                    self.send_header("Content-Type", "application/x-protobuf")
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Be quiet."""

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be quiet: a connection that ends in the middle is what tests do."""
