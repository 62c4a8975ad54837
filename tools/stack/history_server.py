"""Prometheus over history: blocks out of OpenMetrics text, and a Prometheus that shows them and scrapes nothing."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.base.errors import ToolError
from tools.stack import processes
from tools.stack.ports import HOST, Ports
from tools.stack.processes import Component
from tools.stack.programs import ensure


def create(text: Path, folder: Path, what: str, *, longest: str = "7d") -> None:
    """Add an OpenMetrics file to a folder of blocks; `what` it holds is said if that fails.

    The text is read once for every block: the `longest` one decides how long that takes. Prometheus tells the names and
    values of labels by whole blocks.

    Raises:
        ToolError: promtool cannot be had, or does not take the text.
    """
    options = ("--quiet", f"--max-block-duration={longest}")
    command = [str(ensure("promtool")), "tsdb", "create-blocks-from", *options, "openmetrics", str(text), str(folder)]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if run.returncode:
        raise ToolError(f"promtool made no blocks of {what}: {run.stderr.strip()}")


@contextmanager
def served(data: Path, folder: Path) -> Iterator[str]:
    """The address of a Prometheus over these blocks, which writes beside them; its own files are in the folder.

    Raises:
        ToolError: it does not start.
        ToolError: there is no Prometheus.
    """
    config = folder / "prometheus.yml"
    config.write_text("{}", "utf-8")
    address = f"{HOST}:{Ports.free().prometheus}"
    options = (f"--config.file={config}", f"--storage.tsdb.path={data}", f"--web.listen-address={address}")
    kept = "--storage.tsdb.retention.time=100y"  # history lies in the past
    program = Component(
        "prometheus",
        (str(ensure("prometheus")), *options, kept),
        ready=lambda: processes.answers(f"http://{address}/-/ready"),
    )
    with processes.running(program, folder):
        yield f"http://{address}"
