"""A build's commands: all that they say is in its log, and its end is what a failure shows."""

import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.base.errors import ToolError
from tools.base.files import ROOT

LOG_LINES = 15
NICER = 10  # than we: what runs already comes first
_POLL_SECONDS = 0.1
_STOP_SECONDS = 10.0


def run(
    what: str, command: Sequence[str], environment: Mapping[str, str], log: Path, ended: threading.Event | None = None
) -> None:
    """Run one of the commands that build `what`, at the repository's root; what it says is added to the log.

    Once `ended` is set it is told to stop. Raises ToolError: it failed, or was stopped.
    """
    try:
        with log.open("ab") as output:
            process = subprocess.Popen(
                ("nice", "-n", str(NICER), *command),  # noqa: S607 - everywhere
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
    except OSError as error:
        raise ToolError(f"{what} could not be built: {error}") from error
    with process:
        while process.poll() is None:
            if ended is None:
                process.wait()
            elif ended.wait(_POLL_SECONDS):
                _stop(process)
    if process.returncode:
        lines = log.read_text("utf-8", "replace").splitlines()[-LOG_LINES:]
        raise ToolError(
            f"{what} could not be built: `{' '.join(command[:3])} …` ended with "
            f"{process.returncode}. Its log: {log}, which ends with\n" + "\n".join(f"  {line}" for line in lines)
        )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)  # Go then stops its compilers and takes its files away
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:  # a shell's background job ignores it, and so does all that it starts
        process.kill()
