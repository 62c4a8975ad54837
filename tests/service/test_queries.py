"""Every way to ask PostgreSQL by asyncpg, as spans: names from which the Collector makes the label `operation`."""

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.backend import Backend
from tools.waiting import until

PROGRAM = """
import asyncio, os, sys
import asyncpg
from app.observability import init_tracing, trace_span
from app.observability.instrumentation import instrument_database

async def main():
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = sys.argv[1]
    telemetry = init_tracing()
    instrument_database()
    instrument_database()
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    await connection.execute("create temporary table t (x int)")
    pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=0)
    with trace_span("queries") as span:
        print(format(span.get_span_context().trace_id, "032x"))
        {statement}
    await pool.close()
    await connection.close()
    telemetry.shutdown()

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ('assert await connection.fetchval(query="select 1") == 1', ["select"]),
        ('assert await connection.fetchval(query="select 1, 2", column=1, timeout=5) == 2', ["select"]),
        ('assert await connection.fetchrow(query="select 1")', ["select"]),
        ('assert await connection.fetch(query="/* a\\n */ select 1")', ["select"]),
        ('assert await connection.fetchval("-- a\\nselect $1::int", 4) == 4', ["select"]),
        ('assert await connection.fetchval("(select 1) union (select 1)") == 1', ["select"]),
        ('await connection.execute(query="insert into t values (1)")', ["insert"]),
        ('assert await connection.fetch("") == []', ["other"]),
        ('await connection.execute("explain select 1")', ["other"]),
        ('await connection.execute("with x as (select 1) insert into t select * from x")', ["with"]),
        ('await connection.executemany(command="insert into t values ($1)", args=[(1,), (2,)])', ["insert"]),
        ('assert await pool.fetchval(query=" \\n;select 1") == 1', ["select", "SELECT"]),  # and the pool's reset
        (
            "async with connection.transaction():\n"
            '            assert len([row async for row in connection.cursor("-- a\\nselect 1")]) == 1',
            ["BEGIN;", "cursor", "cursor", "COMMIT;"],
        ),
        ('assert await (await connection.prepare("/* a */ select $1::int")).fetchval(1) == 1', ["select"]),
        ('await connection.copy_records_to_table("t", records=[(1,), (2,)])', []),
    ],
)
def test_a_query_is_a_span_of_its_operation(backend: Backend, statement: str, names: list[str]) -> None:
    spans = _spans(backend, statement)
    assert [span.name for span in spans] == names
    assert {span.status.code for span in spans} <= {Status.STATUS_CODE_UNSET}


@pytest.mark.parametrize(
    ("statement", "error", "names"),
    [
        ("await connection.fetchval()", "TypeError", []),
        ('await connection.fetchval("select 1", query="select 1")', "TypeError", ["select"]),
        ("await connection.fetchval(query=None)", "", ["other"]),
        ('await connection.fetchval(query="selec 1")', "asyncpg.PostgresSyntaxError", ["other"]),
    ],
)
def test_a_wrong_call_raises_what_asyncpg_raises(
    backend: Backend, statement: str, error: str, names: list[str]
) -> None:
    caught = f"""try:
            {statement}
        except {error or "Exception"} as error:
            assert not isinstance(error, IndexError)
        else:
            raise SystemExit("nothing was raised")"""
    spans = _spans(backend, caught)
    assert [span.name for span in spans] == names
    assert {span.status.code for span in spans} <= {Status.STATUS_CODE_ERROR}


def _spans(backend: Backend, statement: str) -> list[Span]:
    """The queries' spans, in the order in which they began."""
    assert backend.sink is not None
    sink = backend.sink
    trace_id = bytes.fromhex(
        backend.python(PROGRAM.replace("{statement}", statement), f"http://{sink.endpoint}").strip()
    )
    until(lambda: any(span.name == "queries" for span in sink.spans(trace_id)), "the trace arrives")
    spans = [span for span in sink.spans(trace_id) if span.name != "queries"]
    return sorted(spans, key=lambda span: span.start_time_unix_nano)
