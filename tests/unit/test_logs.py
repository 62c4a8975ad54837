"""Log lines: ours as they are, others' without their words."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.trace import format_trace_id

from app.observability import trace_span
from app.observability.logs import JsonFormatter
from app.observability.telemetry import Telemetry


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
