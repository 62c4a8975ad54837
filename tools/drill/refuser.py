"""Takes the place of a trace store or of the Collector: refuses every span for good, and passes metrics on."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from tools.base.otlp import METRICS, TRACES

_SECONDS = 5.0


class Refuser:
    """Listens on a free port.

    Args:
        collector: where metrics go, as host:port.
        listens: the address of this machine that it listens on.
        reached_as: the name of this machine for those who send to it.
    """

    def __init__(self, collector: str, listens: str, reached_as: str) -> None:
        self._channel = grpc.insecure_channel(collector)
        self._server = grpc.server(ThreadPoolExecutor(max_workers=4))
        for path, answer in ((TRACES, self._refuse), (METRICS, self._pass_on)):
            _, service, method = path.split("/")
            handler = grpc.unary_unary_rpc_method_handler(answer)
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        self.endpoint = f"{reached_as}:{self._server.add_insecure_port(f'{listens}:0')}"
        self._server.start()

    def close(self) -> None:
        """Listen no more."""
        self._server.stop(grace=0).wait()
        self._channel.close()

    def _refuse(self, _: bytes, context: Any) -> None:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "refused")

    def _pass_on(self, body: bytes, context: Any) -> bytes:
        try:
            return bytes(self._channel.unary_unary(METRICS)(body, timeout=_SECONDS))
        except grpc.RpcError as error:
            context.abort(error.code(), "the Collector did not take it")
            raise
