"""Logs: one JSON object a line, with the trace's id, without patients' data.

Our own lines are constant texts with counts and closed values. What other libraries say may hold anything (SQL
details, URLs, a task's result), so of theirs only the place in the code and the exception's type are kept.
"""

import contextlib
import json
import logging
import sys
import threading
import traceback as tracebacks
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import yaml
from opentelemetry import trace
from pydantic import ValidationError

from app.environment import SettingError

log = logging.getLogger(__name__)

_OURS = Path(__file__).parents[1]


class JsonFormatter(logging.Formatter):
    """Formats a record as JSON: time, level, logger, message, trace_id, exception (its type only)."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _words(record),
        }
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            line["trace_id"] = trace.format_trace_id(context.trace_id)
        if record.exc_info and record.exc_info[0]:
            line["exception"] = record.exc_info[0].__qualname__
        return json.dumps(line)


def _words(record: logging.LogRecord) -> str:
    """Our own line's text; of others', and of one whose arguments do not fit, the place in the code."""
    if record.name == "uvicorn.error" and isinstance(record.msg, OSError):  # the port is in use, or not ours to have
        return str(record.msg)
    if record.name.split(".", 1)[0] == "app":
        try:
            return record.getMessage()
        except (TypeError, ValueError, LookupError):
            pass
    return f"{record.module}.py:{record.lineno}"


def configure_logs(level: str) -> None:
    """Send everything to stderr as JSON: our own lines from this level on, others' from WARNING on.

    Warnings and exceptions that nobody handled too: Python would print them with their words.
    """
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
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # else a record that can't be formatted is printed, with its arguments
    sys.excepthook = _unhandled
    threading.excepthook = lambda thrown: _unhandled(thrown.exc_type, thrown.exc_value, thrown.exc_traceback)
    sys.unraisablehook = lambda thrown: _unhandled(thrown.exc_type, thrown.exc_value, thrown.exc_traceback)


def _unhandled(kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error or kind(), traceback)
    else:
        log.critical("nobody handled an exception", exc_info=(kind, error or kind(), traceback))


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """Within, an exception is logged with its reason and ends the process with status 3."""
    try:
        yield
    except Exception as error:
        if sys.excepthook is not _unhandled:  # not configured yet: a setting is wrong
            configure_logs("info")
        log.critical("the start failed: %s", reason(error))
        raise SystemExit(3) from None


def reason(error: Exception) -> str:
    """The words of errors of settings and the machine; of others, which may hold rows or secrets, type and place."""
    if isinstance(error, ValidationError) and error.title == "Settings":
        wrong = error.errors(include_url=False, include_context=False, include_input=False)
        return "; ".join(f"{'.'.join(map(str, one['loc'])).upper()} {one['msg']}".strip() for one in wrong)
    of_the_machine = isinstance(error, OSError) and type(error).__module__ in ("builtins", "socket", "ssl")
    if of_the_machine or isinstance(error, SettingError | ImportError | yaml.YAMLError):
        return f"{type(error).__qualname__}: {' '.join(str(error).split())}"
    frames = tracebacks.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(_OURS)]
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in (*ours[-1:], *frames[-1:])]
    return f"{type(error).__qualname__} at {' > '.join(dict.fromkeys(places))}"
