"""The whole stack, with canaries in all of its inputs and with everything failing once."""

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import redis
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.leaks import webhook_canaries
from tests.leaks.canaries import JID, NAME
from tests.leaks.hostile_neighbours import MODELS, REPLIES, Echo, Wire, rude_redis
from tests.leaks.reading_outputs import answered
from tests.leaks.webhook_canaries import ALL, Request, encode, hidden_event, text_event
from tests.support.backend import Backend
from tests.support.serving import serving
from tools.base.wait import until
from tools.stack.ports import HOST
from tools.stack.programs import ROOT

PATIENT = JID.parts[0]
SETTINGS = {
    "REPLIES_PER_SENDER_PER_MINUTE": "100000",
    "JOB_ATTEMPTS": "12",
    "JOB_BACKOFF_SECONDS": "0.05",
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": ".*",
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE": ".*",
    "OTEL_RESOURCE_ATTRIBUTES": f"host.name={NAME.parts[1]}",
}
TALKATIVE = {  # whatever else could make a program say more; it makes it slow, too
    "OTEL_CONSOLE_EXPORTER": "true",
    "OTEL_LOG_LEVEL": "debug",
    "OTEL_PYTHON_LOG_CORRELATION": "true",
    "OPENAI_LOG": "debug",
    "PYTHONASYNCIODEBUG": "1",
    "PYTHONWARNINGS": "always",
    "LOG_LEVEL": "debug",
}


@dataclass
class Whole:
    """A running stack, what it answered, and how many inputs it had."""

    backend: Backend
    wire: Wire
    answers: list[bytes] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    inputs: int = 0

    def send(self, request: Request) -> None:
        """One request; its whole answer is kept."""
        headers = [(name.encode(), value.replace(b"\n", b" ")) for name, value in request.headers]
        if request.authorised:
            headers.append((b"X-Webhook-Secret", self.backend.secret.encode()))
        url = self.backend.url(request.path)
        self.keep(self.backend.http.request(request.method, url, content=request.body, headers=headers))

    def post(self, event: object | None = None) -> int:
        """One message; its status code."""
        answer = self.backend.post(encode(event or text_event()))
        self.keep(answer)
        return answer.status_code

    def keep(self, answer: httpx.Response) -> None:
        """Note an answer."""
        self.inputs += 1
        self.statuses[answer.status_code] += 1
        self.answers.append(answered(answer))

    def idle(self) -> bool:
        """Whether no job waits."""
        return self.backend.rows("select count(*) from jobs where state = 'waiting'") == [(0,)]


@contextmanager
def running(folder: Path) -> Iterator[Whole]:
    """The stack of `make up`, with the wire between the service and the Collector."""
    wire = Wire()
    backend = Backend(folder, environment=SETTINGS | {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{wire.port}"})
    wire.collector = f"{HOST}:{backend.stack.ports.collector_grpc}"
    try:
        backend.stack.up()
        yield Whole(backend, wire)
    finally:
        backend.http.close()
        backend.stack.remove()
        wire.close()


def plant(whole: Whole) -> None:
    """All inputs of a service that works, and what follows from them."""
    whole.post()  # the patient is known and remembered from now on
    requests = [*(Request(body) for body in webhook_canaries.bodies()), *webhook_canaries.around()]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(whole.send, requests))
    for raw in webhook_canaries.raw_requests():
        whole.answers.append(_raw(whole, raw.replace(b"%SECRET%", whole.backend.secret.encode())))
        whole.inputs += 1
    until(whole.idle, "all jobs are done")


def _raw(whole: Whole, content: bytes) -> bytes:
    with socket.create_connection((HOST, whole.backend.stack.ports.service), timeout=10) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        found = b""
        while part := connection.recv(65536):
            found += part
        return found


RAISES = "create function leak() returns trigger language plpgsql as $$ begin {} end $$"
BREAKS = {  # table and statement: what the database then says in its error
    ("messages", "alter table messages add constraint leak check (text = '') not valid"): "Failing row contains (…)",
    ("messages", "perform new.text::int; return new;"): 'invalid input syntax for type integer: "…"',
    ("patients", "raise unique_violation using message = new.name, detail = new::text, hint = new::text;"): "Key (…)",
    ("jobs", "perform new.patient::uuid; return new;"): 'invalid input syntax for type uuid: "…"',
}
BREAKS_OF_THE_WORKER = {
    ("memories", "alter table memories add constraint leak check (payload is null) not valid"): "Failing row contains",
    ("jobs", "if new.state <> 'waiting' then raise '%%', new; end if; return new;"): "the whole row",
}


@contextmanager
def broken(backend: Backend, table: str, statement: str) -> Iterator[None]:
    """SQL that fails with what patients wrote in the error's text."""
    backend.flush_redis()  # else not all of it runs
    if statement.startswith("alter"):
        backend.rows(statement)
    else:
        backend.rows(RAISES.format(statement))
        backend.rows(
            f"create trigger leak before insert or update or delete on {table} for each row execute function leak()"
        )
    try:
        yield
    finally:
        backend.rows(f"alter table {table} drop constraint if exists leak")
        backend.rows(f"drop trigger if exists leak on {table}")
        backend.rows("drop function if exists leak")


def failures(whole: Whole) -> int:
    """How often the worker said that it failed."""
    log = whole.backend.stack.log("worker").read_text()
    return log.count("job failed") + log.count("can't be worked on")


def fail_in_postgresql(whole: Whole) -> None:
    """Errors with row contents, in the web process and in the worker; then no database at all."""
    backend = whole.backend
    for table, statement in BREAKS:
        with broken(backend, table, statement):
            assert whole.post() == 503, statement
            whole.post(hidden_event())
    for table, statement in BREAKS_OF_THE_WORKER:
        before = failures(whole)
        with broken(backend, table, statement):
            whole.post()
            until(lambda seen=before: failures(whole) > seen, "the worker failed")  # type: ignore[misc]
    with broken(backend, "messages", "raise '%%', old;"):
        command = [sys.executable, "-m", "app.admin", "erase", PATIENT]
        environment = os.environ | backend.stack.service_environment()
        run = subprocess.run(command, env=environment, capture_output=True, check=False)
        assert run.returncode == 1
        whole.answers.append(run.stdout + run.stderr)
    backend.stack.stop("postgres")
    assert whole.post() == 503
    backend.stack.start("postgres")
    until(lambda: whole.post() == 200, "PostgreSQL is found again")
    until(whole.idle, "all jobs are done")


def fail_in_redis(whole: Whole) -> None:
    """Wrong contents of the cache, then none at all."""
    backend = whole.backend
    poisons = (
        ALL,
        json.dumps(ALL),
        json.dumps([ALL]),
        json.dumps({ALL: ALL}),
        json.dumps({"name": [ALL], "memories": 5}),
    )
    with redis.Redis.from_url(backend.stack.url("redis")) as client:
        for key in (f"bundle:{PATIENT}", "catalog:all"):
            for poison in poisons:
                client.set(key, poison)
                whole.post()
            client.delete(key)
            client.lpush(key, ALL)
            whole.post()
            client.delete(key)
    backend.stack.kill("redis")
    assert whole.post() == 200
    backend.stack.start("redis")


@contextmanager
def among_echoes(whole: Whole) -> Iterator[None]:
    """Everybody answers with what they were sent, until the jobs are given up; the processes tell what they can."""
    backend, echo = whole.backend, Echo()
    until(whole.idle, "all jobs are done")
    with serving(echo) as url, rude_redis() as cache:
        for name in ("service", "worker"):
            backend.stack.stop(name)
        hasty = {"JOB_BACKOFF_SECONDS": "0.005"}
        places = {"EVOLUTION_API_URL": url, "EMBEDDINGS_URL": f"{url}/v1", "LLM_URL": f"{url}/v1", "REDIS_URL": cache}
        backend.stack.start("worker", TALKATIVE | places | hasty, wait=False)
        backend.stack.start("service", TALKATIVE | places)
        for text in (webhook_canaries.MESSAGE, f"Oi. {ALL}"):
            assert whole.post(text_event(text)) == 200
        until(whole.idle, "all jobs are given up")
        assert echo.asked["v1/embeddings"] >= len(MODELS)
        assert echo.asked["message/sendText"] >= len(REPLIES)
        whole.inputs += sum(echo.asked.values())
        yield


def settle(whole: Whole) -> None:
    """Wait until all jobs are done and all that the service sent is in Prometheus."""
    until(whole.idle, "all jobs are done")
    wait_counted(whole)


def wait_counted(whole: Whole) -> None:
    """Wait until every request is in Prometheus."""
    backend, query = whole.backend, {"query": "sum(webhook_requests_total)"}
    url = backend.stack.url("prometheus") + "/api/v1/query"

    def counted() -> int:
        found = backend.http.get(url, params=query).json()["data"]["result"]
        return int(float(found[0]["value"][1])) if found else 0

    until(lambda: counted() == webhooks(whole), "every request is counted", every=0.3)


def webhooks(whole: Whole) -> int:
    """The requests that count, as they left the service."""
    return sum(span.kind == Span.SPAN_KIND_SERVER and span.name.startswith("POST /webhooks/") for span in spans(whole))


def spans(whole: Whole) -> Iterator[Span]:
    """All that left the service."""
    for resource in whole.wire.exports()[ExportTraceServiceRequest].resource_spans:
        for scope in resource.scope_spans:
            yield from scope.spans


def kept(whole: Whole) -> dict[str, bytes]:
    """Where patients' data belongs: the database, and Evolution's conversation with the patient."""
    tables = ("messages", "patients", "jobs", "memories")
    statement = "select t::text from {} t"
    rows = {table: repr(whole.backend.rows(statement.format(table))).encode() for table in tables}
    return {**rows, "replies": "\n".join(whole.backend.replies(PATIENT)).encode()}


@contextmanager
def with_contract(whole: Whole, folder: Path, document: dict[str, Any]) -> Iterator[None]:
    """Let the web process run with another allow-list; `folder` becomes its checkout."""
    (folder / "otel-collector").mkdir()
    (folder / "otel-collector" / "metrics.yaml").write_text(yaml.safe_dump(document))
    (folder / "service").symlink_to(ROOT / "service")
    stack = whole.backend.stack
    stack.stop("service")
    stack.start("service", {"PYTHONPATH": f"{folder / 'service'}{os.pathsep}{ROOT}"})
    yield
    stack.stop("service")
