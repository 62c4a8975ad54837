"""What a process prints: one line of JSON on stderr, whatever happens to it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.observability import logs

SERVICE = str(Path(logs.__file__).parents[2])
UNHANDLED = {
    "in the main thread": "raise ValueError(WORDS)",
    "in another thread": "t = threading.Thread(target=lambda: int(WORDS)); t.start(); t.join()",
    "where nobody can catch it": "type('T', (), {'__del__': lambda _: int(WORDS)})()",
    "in a group": "raise ExceptionGroup(WORDS, [ValueError(WORDS)])",
    "as a warning": "warnings.warn(WORDS)",
    "in a line of log whose arguments do not fit": "logging.getLogger('app.x').info('%d', WORDS)",
    "in a line of log with too many arguments": "logging.getLogger('app.x').error('failed', WORDS)",
}


@pytest.mark.parametrize("statement", UNHANDLED.values(), ids=UNHANDLED)
def test_what_nobody_handled_is_one_line_without_words(statement: str) -> None:
    program = f"""
import logging, threading, warnings
from app.observability.logs import configure_logs
configure_logs('info')
WORDS = 'Maria Silva'
{statement}
"""
    run = subprocess.run(
        [sys.executable, "-W", "always", "-c", program],
        env=os.environ | {"PYTHONPATH": SERVICE},
        capture_output=True,
        text=True,
        check=False,
    )
    (line,) = [json.loads(line) for line in (run.stdout + run.stderr).splitlines()]
    assert line["level"] in ("critical", "error", "warning", "info")
    assert "Maria" not in str(line)


def test_the_level_is_ours_and_all_lines_are_json_on_stderr() -> None:
    program = """
import logging.config
from uvicorn.config import LOGGING_CONFIG
from app.observability.logs import configure_logs
logging.config.dictConfig(LOGGING_CONFIG)
logging.basicConfig()
configure_logs('info')
logging.getLogger('app.example').info('ours')
logging.getLogger('app.example').debug('ours, below the level')
logging.getLogger('library').info('theirs, below warning')
logging.getLogger('uvicorn.access').info('theirs')
logging.getLogger('uvicorn.error').info('theirs')
logging.getLogger('uvicorn.error').warning('theirs')
logging.getLogger('opentelemetry.exporter.otlp').error('told by app.observability.export')
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": SERVICE},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [json.loads(line) for line in run.stderr.splitlines()]
    assert [(line["logger"], line["level"], line["message"]) for line in lines] == [
        ("app.example", "info", "ours"),
        ("uvicorn.error", "warning", "<string>.py:13"),
    ]
    assert all("trace_id" not in line and "exception" not in line for line in lines)
    assert run.stdout == ""
