"""redis and asyncpg, instrumented by their OpenTelemetry packages; FastAPI: server_spans.py."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

from opentelemetry.instrumentation import asyncpg as upstream
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from redis.asyncio import Redis

from app.observability.contract import contract

# Of the eight attributes that upstream puts together for each query, the one that leaves.
QUERY = {"db.system.name": "postgresql"}


def instrument_database() -> None:
    """A CLIENT span for each query of any asyncpg connection in this process."""
    instrumentor = _AsyncPGInstrumentor()  # type: ignore[no-untyped-call]
    if not instrumentor.is_instrumented_by_opentelemetry:
        upstream._hydrate_span_from_args = lambda *_, **__: QUERY
        instrumentor.instrument()


def instrument_cache(client: Redis) -> None:
    """A CLIENT span for each command of this client."""
    RedisInstrumentor.instrument_client(client)


def operation(statement: object) -> str:
    """The first word of an SQL statement, behind blanks, comments, brackets and semicolons.

    Empty where there is none, or none of the contract's: a statement can begin with anything. `BEGIN;` keeps its
    semicolon, as asyncpg sends it; the Collector makes the label `operation` of the name.
    """
    if not isinstance(statement, str):
        return ""
    start = 0
    while skipped := _SKIPPED.match(statement, start):
        start = skipped.end()
        if skipped[0] == "/*":
            start = _end_of_comment(statement, start)
    word = _WORD.match(statement, start)
    if word is None or word[0].rstrip(";").lower() not in contract().labels["operation"]:
        return ""
    return word[0] if word[0].islower() else word[0].upper()


_SKIPPED = re.compile(r"[\s;(\ufeff]+|--[^\n\r]*|/\*")
_WORD = re.compile(r"[A-Za-z]+;?")
_COMMENTS_EDGE = re.compile(r"/\*|\*/")


def _end_of_comment(statement: str, start: int) -> int:
    depth = 1  # PostgreSQL's comments nest
    for edge in _COMMENTS_EDGE.finditer(statement, start):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(statement)


class _Operation:
    """In the place of upstream's regular expression, of which it calls `.sub("", statement).split()[0]`."""

    def sub(self, _: str, statement: object) -> str:
        return operation(statement)


class _AsyncPGInstrumentor(AsyncPGInstrumentor):
    """Upstream's, mended: opentelemetry-python-contrib#5088 (statements by keyword), and names behind comments.

    tests/unit/test_instrumentation.py tells when upstream is mended.
    """

    _instance = None  # else BaseInstrumentor gives us upstream's, where somebody made that first
    _leading_comment_remover = _Operation()  # type: ignore[assignment]

    async def _do_execute(
        self, func: Callable[..., Awaitable[Any]], instance: object, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if not args:
            name = next((name for name in ("query", "command") if name in kwargs), None)
            if name is None:
                return await func(*args, **kwargs)  # raises what asyncpg raises
            kwargs = dict(kwargs)
            args = (kwargs.pop(name),)
        if not args[0]:  # upstream would name the span after the database
            given, call = args[0], func
            func = lambda _, *more, **named: call(given, *more, **named)  # noqa: E731
            args = (";", *args[1:])
        return await super()._do_execute(func, instance, args, kwargs)  # type: ignore[no-untyped-call]
