"""A build's commands: all that they say is in its log, and its end is what a failure shows."""

import contextlib
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from tools.base.errors import ToolError
from tools.base.files import ROOT

LOG_LINES = 15
POLITE = 10  # niceness: what runs already comes first
_POLL_SECONDS = 0.1


def run(
    what: str, command: Sequence[str], environment: Mapping[str, str], log: Path, ended: threading.Event | None = None
) -> None:
    """Run one of the commands that build `what`, at the repository's root; what it says is added to the log.

    Once `ended` is set it is told to stop. Raises ToolError: it failed, or was stopped.
    """
    try:
        with log.open("ab") as output:
            process = psutil.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
    except OSError as error:
        raise ToolError(f"{what} could not be built: {error}") from error
    with process:
        _be_polite(process)
        while process.poll() is None:
            if ended is None:
                process.wait()
            elif ended.wait(_POLL_SECONDS):
                process.send_signal(signal.SIGINT)  # Go then stops its compilers, too
                process.wait()
    if process.returncode:
        lines = log.read_text("utf-8", "replace").splitlines()[-LOG_LINES:]
        raise ToolError(
            f"{what} could not be built: `{' '.join(command[:3])} …` ended with "
            f"{process.returncode}. Its log: {log}, which ends with\n" + "\n".join(f"  {line}" for line in lines)
        )


def _be_polite(process: psutil.Popen) -> None:
    with contextlib.suppress(psutil.Error):  # it has ended already
        process.nice(max(process.nice(), POLITE))
