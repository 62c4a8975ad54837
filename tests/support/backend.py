"""The service and its worker as processes, on real PostgreSQL and Redis, with the spans that leave them caught."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import psycopg
import redis
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from psycopg.rows import tuple_row

from tools.base.otlp_sink import Sink
from tools.base.wait import until
from tools.stack.ports import Ports
from tools.stack.stack import Stack

INSTANCE = "clinic-test"
QUICK = {"JOB_BACKOFF_SECONDS": "0.2"}  # retries within a test's patience

_numbers = itertools.count(1)


class Backend:
    """A stack with handles for tests. `sink` is None where a real Collector takes the spans."""

    def __init__(
        self,
        folder: Path,
        sink: Sink | None = None,
        environment: Mapping[str, str] | None = None,
        store: str = "jaeger",
    ) -> None:
        settings = QUICK | dict(environment or {})
        if sink:
            settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://{sink.endpoint}"
        self.sink = sink
        self.stack = Stack(folder, Ports.free(), {"service": settings, "worker": settings}, store)
        self.http = httpx.Client(timeout=30, trust_env=False)

    def url(self, path: str = "") -> str:
        """Of the service."""
        return self.stack.url("service") + path

    @property
    def secret(self) -> str:
        """Evolution's."""
        return self.stack.service_environment()["WEBHOOK_SECRET"]

    def post(self, body: bytes | dict[str, Any], suffix: str = "", **headers: str) -> httpx.Response:
        """Deliver an event with the right credentials, unless headers say otherwise."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"X-Webhook-Secret": self.secret} | {name.replace("_", "-"): text for name, text in headers.items()}
        return self.http.post(self.url("/webhooks/evolution" + suffix), content=content, headers=sent)

    def rows(self, statement: str, *arguments: object) -> list[Any]:
        """The rows of an SQL statement, committed."""
        with psycopg.connect(self.stack.url("postgres"), autocommit=True, row_factory=tuple_row) as connection:
            cursor = connection.execute(statement.encode(), arguments)
            return cursor.fetchall() if cursor.description else []

    def flush_redis(self) -> None:
        """Let Redis forget everything."""
        with redis.Redis.from_url(self.stack.url("redis")) as client:
            client.flushall()

    def replies(self, number: str, what: str = "text") -> list[str]:
        """The texts that Evolution accepted for a number, or what else of them (`instance`)."""
        headers = {"apikey": self.stack.service_environment()["EVOLUTION_API_KEY"]}
        answer = self.http.get(self.stack.url("simulator") + "/received", headers=headers).raise_for_status()
        return [reply[what] for reply in answer.json()["replies"] if reply["number"] == number]

    def fault(self, **faults: Any) -> None:
        """Let the simulator misbehave, or behave again: `send_text={"status": 500}`, `embeddings=None`."""
        self.http.put(self.stack.url("simulator") + "/faults", json=faults).raise_for_status()

    def asked(self, endpoint: str) -> int:
        """How often the simulator was asked for an endpoint, answered or not yet."""
        asked = self.http.get(self.stack.url("simulator") + "/health").json()["asked"]
        return int(asked.get(endpoint, 0))

    def settled(self, number: str) -> bool:
        """Whether all jobs of a number are done."""
        return self.rows("select count(*) from jobs where patient = %s and state <> 'done'", number) == [(0,)]

    def admin(self, *arguments: str, fails: bool = False) -> str:
        """What an operator's command prints; with `fails` its complaint."""
        return self._run("-m", "app.admin", *arguments, fails=fails)

    def python(self, program: str, *arguments: str) -> str:
        """What a Python program prints in the worker's environment."""
        return self._run("-c", program, *arguments)

    def _run(self, *arguments: str, fails: bool = False) -> str:
        environment = os.environ | self.stack.service_environment()
        ran = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, encoding="utf-8")
        assert bool(ran.returncode) is fails, ran.stderr
        return ran.stderr if fails else ran.stdout

    def stored(self, number: str) -> dict[str, int]:
        """What there is of a number: rows, and replies accepted by Evolution."""
        counts = {
            "messages": "select count(*) from messages where patient = %s",
            "reply jobs": "select count(*) from jobs where kind = 'reply' and patient = %s",
            "memories": "select count(*) from memories where payload->>'user_id' = %s",
        }
        found = {name: int(self.rows(statement, number)[0][0]) for name, statement in counts.items()}
        return found | {"replies": len(self.replies(number))}

    def trace(self, message_id: str, *names: str) -> list[Span]:
        """The newest trace that handled a message, once it holds its SERVER span and spans of these names."""
        assert self.sink is not None

        def complete() -> list[Span]:
            assert self.sink is not None
            roots = [span for span in self.sink.spans() if attributes(span).get("message_id") == message_id]
            if not roots:
                return []
            spans = self.sink.spans(roots[-1].trace_id)
            found = {span.name for span in spans} | {"SERVER" for span in spans if span.kind == Span.SPAN_KIND_SERVER}
            return spans if {"SERVER", *names} <= found else []

        return until(complete, f"the trace of {message_id}")


def patient() -> str:
    """A number that no other test uses."""
    return f"55009{next(_numbers):08d}"


def event(number: str, text: str = "Quanto custa uma consulta?", message_id: str | None = None) -> dict[str, Any]:
    """A text message as Evolution delivers it; the same number and no id gives a new message each time."""
    return {
        "event": "messages.upsert",
        "instance": INSTANCE,
        "apikey": "an-instance-secret",
        "data": {
            "key": {
                "remoteJid": f"{number}@s.whatsapp.net",
                "fromMe": False,
                "id": message_id or new_id(),
            },
            "pushName": "Maria Teste",
            "message": {"conversation": text},
            "messageType": "conversation",
            "messageTimestamp": int(time.time()),
        },
    }


def new_id() -> str:
    """An id of WhatsApp's shape."""
    return f"3EB0F{next(_numbers):05X}ABCD"


def attributes(span: Span) -> dict[str, Any]:
    """A span's attributes as Python values."""
    return {item.key: getattr(item.value, str(item.value.WhichOneof("value"))) for item in span.attributes}


def tree(spans: list[Span]) -> dict[str, int]:
    """How many spans there are of each path of names from the root."""
    by_id = {span.span_id: span for span in spans}

    def path(span: Span) -> str:
        parent = by_id.get(span.parent_span_id)
        return (path(parent) + " > " if parent else "") + span.name

    counts: dict[str, int] = {}
    for span in spans:
        counts[path(span)] = counts.get(path(span), 0) + 1
    return dict(sorted(counts.items()))
