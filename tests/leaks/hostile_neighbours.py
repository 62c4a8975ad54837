"""What stands around the service in the proof: a listener on the way to the Collector, and ill-natured neighbours.

The neighbours answer with what they were sent, in every way in which an answer can be wrong: nothing that a real one
says in an error could be worse.
"""

import json
import socketserver
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tools.base.otlp import METRICS, TRACES

KINDS: dict[str, Any] = {TRACES: ExportTraceServiceRequest, METRICS: ExportMetricsServiceRequest}


class Wire(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Stands between the service and the Collector: keeps a copy of every byte, and passes it on."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bytes, bytes]] = []
        self.collector = ""
        self._server = grpc.server(ThreadPoolExecutor(16), handlers=[self])
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._channels: dict[str, Any] = {}
        self._server.start()

    def service(self, details: Any) -> Any:
        """A handler for whatever is called."""
        headers = repr(details.invocation_metadata).encode()

        def call(body: bytes, context: Any) -> bytes:
            self.calls.append((details.method, headers, body))
            if not self.collector:
                context.abort(grpc.StatusCode.UNAVAILABLE, "there is no Collector yet")
            channel = self._channels.setdefault(self.collector, None) or grpc.insecure_channel(self.collector)
            self._channels[self.collector] = channel
            try:
                return bytes(channel.unary_unary(details.method)(body, timeout=10))
            except grpc.RpcError as error:
                context.abort(error.code(), "the Collector says no")
                raise

        return grpc.unary_unary_rpc_method_handler(call)

    def close(self) -> None:
        """Nothing listens any more."""
        self._server.stop(grace=0).wait()
        for channel in self._channels.values():
            if channel:
                channel.close()

    def exports(self) -> dict[Any, Any]:
        """All that was sent, as one message a kind."""
        found: dict[Any, Any] = {kind: kind() for kind in KINDS.values()}
        for method, _, body in list(self.calls):
            found[KINDS[method]].MergeFrom(KINDS[method].FromString(body))
        return found


Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Echo:
    """Plays Evolution, the embeddings and the model, as an ASGI application; each path gets each answer in turn."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        """Answer one request with itself."""
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        path = "/".join(scope["path"].split("/")[1:3])
        text = repr(scope["headers"]) + scope["path"] + body.decode("utf-8", "replace")
        answers = REPLIES if path == "message/sendText" else MODELS
        answer = answers[self.asked[path] % len(answers)]
        self.asked[path] += 1
        await answer(text, send)


async def _answer(
    send: Send, status: int, content: bytes, kind: bytes = b"application/json", more: tuple[str, str] | None = None
) -> None:
    headers = [(b"content-type", kind), *([(more[0].encode(), more[1].encode())] if more else [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _fails(text: str, send: Send) -> None:
    await _answer(send, 500, json.dumps({"error": {"message": text, "type": text, "code": text}}).encode())


async def _redirects(text: str, send: Send) -> None:
    await _answer(send, 302, b"", more=("location", "http://127.0.0.1:9/" + quote(text)[:2000]))


async def _is_busy(text: str, send: Send) -> None:
    await _answer(send, 429, text.encode(), b"text/plain")


async def _is_no_json(text: str, send: Send) -> None:
    await _answer(send, 200, text.encode())


async def _is_of_another_shape(text: str, send: Send) -> None:
    await _answer(send, 200, json.dumps({"data": text, "choices": text, text: [text]}).encode())


async def _is_no_vector(text: str, send: Send) -> None:
    item = {"object": "embedding", "index": 0, "embedding": [text] * 64}
    await _answer(send, 200, json.dumps({"object": "list", "data": [item], "model": text, "usage": {}}).encode())


async def _cannot_be_decoded(text: str, send: Send) -> None:
    await _answer(send, 200, text.encode(), more=("content-encoding", "gzip"))


async def _refuses(text: str, send: Send) -> None:
    await _answer(send, 400, json.dumps({"error": {"message": text, "param": text}}).encode())


REPLIES = (_fails, _redirects, _is_busy, _cannot_be_decoded, _refuses)
MODELS = (
    _fails,
    _redirects,
    _is_busy,
    _is_no_json,
    _is_of_another_shape,
    _is_no_vector,
    _cannot_be_decoded,
    _refuses,
)


@contextmanager
def rude_redis() -> Iterator[str]:
    """A Redis whose every error repeats the command; yields its URL."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while line := self.rfile.readline():
                words = [self._word() for _ in range(int(line[1:]))]
                if words[0].upper() in (b"HELLO", b"CLIENT", b"PING"):
                    self.wfile.write(b"+OK\r\n")
                else:
                    self.wfile.write(b"-ERR no: " + b" ".join(words).replace(b"\r\n", b" ") + b"\r\n")

        def _word(self) -> bytes:
            length = int(self.rfile.readline()[1:])
            return self.rfile.read(length + 2)[:-2]

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"redis://127.0.0.1:{server.server_address[1]}/0"
        finally:
            server.shutdown()
