"""An ASGI application on a real port, in a thread of its own, so that blocking clients can be tested against it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from tools.base.wait import until


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Serve on a free port of the loopback interface; yields the URL."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started, "the application is served")
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
