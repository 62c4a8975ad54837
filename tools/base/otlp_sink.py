"""A trace store in the test's own process: records what reaches it over OTLP, and can refuse, hang or be away."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Literal, Self

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tools.base.otlp_http import HttpServer

Mode = Literal["take", "refuse", "reject", "hang", "swallow"]


class Sink:
    """The store. `mode` says how it answers.

    take; refuse (UNAVAILABLE: ask again) or reject (INVALID_ARGUMENT: don't); hang, or swallow (take and hang), until
    the mode changes. `poison` says which spans make it reject a whole request, `response` is what it answers.
    """

    def __init__(self, protocol: Literal["grpc", "http/protobuf"] = "grpc") -> None:
        self.protocol = protocol
        self.mode: Mode = "take"
        self.requests: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.asked = 0
        self.poison: Callable[[Span], bool] = lambda _: False
        self.response = bytes(ExportTraceServiceResponse().SerializeToString())
        self.port = 0
        self._release = threading.Event()
        self._server: Any = None

    @property
    def endpoint(self) -> str:
        """host:port, the same before and after it was away."""
        return f"127.0.0.1:{self.port}"

    def open(self) -> None:
        """Listen: the first time on a free port, then always on the same."""
        self._release.clear()
        if self.protocol == "http/protobuf":
            self._server = HttpServer(self.port, {"/v1/traces": self._traces, "/v1/metrics": self._metrics})
            self.port = self._server.port
            return
        self._server = grpc.server(ThreadPoolExecutor(max_workers=32), options=[("grpc.so_reuseport", 0)])
        handler = grpc.unary_unary_rpc_method_handler(self._export, ExportTraceServiceRequest.FromString)
        service = "opentelemetry.proto.collector.trace.v1.TraceService"
        metrics = grpc.unary_unary_rpc_method_handler(self._export_metrics, ExportMetricsServiceRequest.FromString)
        metrics_service = "opentelemetry.proto.collector.metrics.v1.MetricsService"
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(service, {"Export": handler}),
                grpc.method_handlers_generic_handler(metrics_service, {"Export": metrics}),
            )
        )
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    @contextmanager
    def listening(self) -> Iterator[Self]:
        """Open within."""
        self.open()
        try:
            yield self
        finally:
            self.close()

    def close(self) -> None:
        """Be away: nothing listens any more."""
        self._release.set()
        stopped = self._server.stop(grace=0)
        if self.protocol == "grpc":
            stopped.wait()

    def answer(self, mode: Mode) -> None:
        """Change how it answers from now on. Calls that hang are then ended as refused."""
        self.mode = mode
        self._release.set()
        if mode in ("hang", "swallow"):
            self._release.clear()

    def spans(self, *trace_ids: bytes) -> list[Span]:
        """The spans taken so far, of these traces or all, in the order of their arrival."""
        return [span for span in self._all() if not trace_ids or span.trace_id in trace_ids]

    def _all(self) -> Iterator[Span]:
        for request in list(self.requests):
            yield from _spans(request)

    def _export_metrics(self, request: ExportMetricsServiceRequest, context: Any) -> bytes:
        if self.mode == "hang":
            self._release.wait(timeout=60)
        if self.mode != "take":
            context.abort(grpc.StatusCode.UNAVAILABLE, "refuses")
        self.metrics.append(request)
        return b""

    def _export(self, request: ExportTraceServiceRequest, context: Any) -> bytes:
        self.asked += 1
        if self.mode == "swallow":
            self.requests.append(request)
        if self.mode in ("hang", "swallow"):
            self._release.wait(timeout=60)
            context.abort(grpc.StatusCode.UNAVAILABLE, "was hanging")
        if self.mode == "reject" or any(map(self.poison, _spans(request))):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "rejects")
        if self.mode == "refuse":
            context.abort(grpc.StatusCode.UNAVAILABLE, "refuses")
        self.requests.append(request)
        return self.response

    def _traces(self, body: bytes, context: Any) -> bytes:
        return self._export(ExportTraceServiceRequest.FromString(body), context)

    def _metrics(self, body: bytes, context: Any) -> bytes:
        return self._export_metrics(ExportMetricsServiceRequest.FromString(body), context)


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            yield from scope.spans
