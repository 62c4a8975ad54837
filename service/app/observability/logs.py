"""Logs: one JSON object a line, with the trace's id, without patients' data.

Our own lines are constant texts with counts and closed values. Other libraries put data into theirs (SQL details, URLs,
request bodies), so of those only the unformatted text and the exception's type are kept.
"""

import json
import logging
import sys
from datetime import UTC, datetime

from opentelemetry import trace


class JsonFormatter(logging.Formatter):
    """Formats a record as JSON: time, level, logger, message, trace_id, exception (its type only)."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        own = record.name.split(".", 1)[0] == "app"
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage() if own else str(record.msg)[:200],
        }
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            line["trace_id"] = trace.format_trace_id(context.trace_id)
        if record.exc_info and record.exc_info[0]:
            line["exception"] = record.exc_info[0].__qualname__
        return json.dumps(line)


def configure_logs(level: str) -> None:
    """Send everything to stderr as JSON, uvicorn's lines too; access lines hold strangers' paths and are left out."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # main.py says when the service is ready
    # The first four and the next two log what is sent; of the last, app.observability.export tells the same once.
    for name in ("httpx", "httpcore", "httpx2", "httpcore2", "mem0", "openai", "opentelemetry.exporter"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
