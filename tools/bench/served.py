"""The service with another telemetry, or none, in the place of ours: `python -m tools.bench.served NAME PORT`.

With a file's name as the third word it counts the Python functions that are called in its main thread, and writes the
number there whenever it is sent SIGUSR1.
"""

import signal
import sys
from pathlib import Path
from types import FrameType

import uvicorn

from tools.bench.alternatives import MAKE, take_our_place

_called = 0


def _note(_: FrameType, event: str, __: object) -> None:
    global _called
    _called += event == "call"


def main(name: str, port: str, counts: str = "") -> None:
    """Serve until SIGTERM, with the options of the real one."""
    if name in MAKE:
        take_our_place(name)
    if counts:
        file = Path(counts)
        signal.signal(signal.SIGUSR1, lambda *_: file.write_text(str(_called), "utf-8"))
        sys.setprofile(_note)
    uvicorn.run(
        "app.main:create_app",
        factory=True,
        port=int(port),
        access_log=False,
        server_header=False,
        reset_contextvars=True,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=75,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
