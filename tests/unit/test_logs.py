"""Log lines: ours as they are, others' without their words."""

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import format_trace_id

from app.observability import logs, trace_span
from app.observability.logs import JsonFormatter
from app.observability.telemetry import Telemetry

SERVICE = str(Path(logs.__file__).parents[2])


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged meanwhile."""
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(JsonFormatter())
    logging.getLogger().addHandler(handler)
    yield output
    logging.getLogger().removeHandler(handler)


def only(lines: io.StringIO) -> dict[str, Any]:
    (line,) = lines.getvalue().splitlines()
    return dict(json.loads(line))


def test_our_own_lines_keep_their_words_and_carry_the_trace(lines: io.StringIO, telemetry: Telemetry) -> None:
    del telemetry
    with trace_span("work") as span:
        logging.getLogger("app.example").warning("%d spans", 5)
    line = only(lines)
    assert (line["message"], line["level"], line["logger"]) == ("5 spans", "warning", "app.example")
    assert line["trace_id"] == format_trace_id(span.get_span_context().trace_id)


def test_an_exception_is_its_type_only(lines: io.StringIO) -> None:
    try:
        raise ValueError("Key (phone)=(+5511999990000) already exists")
    except ValueError:
        logging.getLogger("app.example").exception("it failed")
    line = only(lines)
    assert line["exception"] == "ValueError"
    assert "5511" not in lines.getvalue()


def test_what_other_libraries_say_is_reduced_to_where_they_said_it(lines: io.StringIO) -> None:
    logging.getLogger("library").error("user %s", "Maria Silva")
    logging.getLogger("library").error("user Maria Silva")
    texts = [json.loads(line)["message"] for line in lines.getvalue().splitlines()]
    assert [text.partition(":")[0] for text in texts] == ["test_logs.py", "test_logs.py"]
    assert "Maria" not in lines.getvalue()


async def test_a_task_nobody_waited_for_tells_only_its_exceptions_type(lines: io.StringIO) -> None:
    failed = ValueError("Maria Silva")
    asyncio.get_running_loop().call_exception_handler({"message": "Task Maria failed", "exception": failed})
    assert only(lines)["exception"] == "ValueError"
    assert "Maria" not in lines.getvalue()


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
