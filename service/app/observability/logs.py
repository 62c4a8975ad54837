"""Logs: one JSON object a line, with the trace's id, without patients' data.

Our own lines are constant texts with counts and closed values. What other libraries say may hold anything (SQL
details, URLs, a task's result), so of theirs only the place in the code and the exception's type are kept.
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
            "message": record.getMessage() if own else f"{record.module}.py:{record.lineno}",
        }
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            line["trace_id"] = trace.format_trace_id(context.trace_id)
        if record.exc_info and record.exc_info[0]:
            line["exception"] = record.exc_info[0].__qualname__
        return json.dumps(line)


def configure_logs(level: str) -> None:
    """Send everything to stderr as JSON: our own lines from this level on, others' from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("app").setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):  # uvicorn has given them handlers and levels
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).setLevel(logging.WARNING)
        logging.getLogger(name).propagate = True
    # An outage of the Collector is told once, by app.observability.export; this one tells it every five seconds.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
