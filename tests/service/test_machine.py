"""The machine around service and worker: its variables, proxies, a pooler, moments of a start and a stop."""

import base64
import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pydantic import SecretStr

from app.observability.lost_spans import LostSpans
from app.outbound import proxy_for
from app.settings import Settings
from tests.support.backend import Backend, attributes, event, new_id, patient, tree
from tests.support.pooler import PROGRAM, pooler
from tests.support.variables import read_by_packages, table, taken_away
from tools.base.otlp_sink import Sink
from tools.base.wait import until
from tools.stack.ports import HOST, Ports
from tools.stack.processes import log_file

NONSENSE = "1;*\\é{"


def hostile(value: str | None = None) -> dict[str, str]:
    """Each variable that is not meant, with a value that does harm where it is read, or with this one."""
    found = {name for name in read_by_packages() if taken_away(name) or name in table().harmless}
    names = found | table().composed | table().hostile.keys()
    if value is None:
        return {name: table().hostile.get(name, NONSENSE) for name in names}
    return {name: value for name in names if not name.startswith("PYTHON")}  # with nonsense Python itself ends


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A backend whose service and worker are started by each test, with variables of its own."""
    sink = Sink()
    sink.open()
    backend = Backend(tmp_path_factory.mktemp("machine"), sink, {})
    backend.stack.up(only=("postgres", "redis", "simulator"))
    yield backend
    backend.http.close()
    backend.stack.remove()
    sink.close()


@pytest.fixture(autouse=True)
def healthy() -> None:
    """The folder's backend is not needed here."""


def restart(backend: Backend, variables: dict[str, str]) -> None:
    """Start service and worker anew, with these variables added."""
    for name in ("worker", "service"):
        backend.stack.stop(name)
    simulator = backend.stack.url("simulator")  # in a Collector's place, where http is concerned
    settings = {"COLLECTOR_HEALTH_URL": f"{simulator}/health", "COLLECTOR_METRICS_URL": f"{simulator}/health"}
    for name in ("worker", "service"):
        backend.stack.start(name, settings | variables)


def everything_of_a_message(backend: Backend) -> dict[str, object]:
    """What one message leaves: its trace with all labels, rows, and the reply."""
    assert backend.sink is not None
    number, message_id = patient(), new_id()
    answer = backend.post(event(number, message_id=message_id))
    until(lambda: backend.settled(number), "its jobs are done")
    spans = backend.trace(message_id, "mem0.write", "reply.send")
    return {
        "answer": answer.json(),
        "spans": tree(spans),
        "labels": Counter(json.dumps([span.name, labels(span)], sort_keys=True) for span in spans),
        "stored": backend.stored(number),
        "reply": backend.replies(number),
    }


def labels(span: Span) -> dict[str, object]:
    """Attributes but for what differs from one message to the next."""
    return {name: value for name, value in attributes(span).items() if name not in ("message_id", "server.port")}


def identity(backend: Backend) -> dict[str, set[str]]:
    """What the newest spans and metrics of each process are said to come from, but for the instance's id."""
    assert backend.sink is not None
    found: dict[str, set[str]] = {"spans": set(), "metrics": set()}
    for kind, resources in (
        ("spans", [one.resource for request in backend.sink.requests for one in request.resource_spans]),
        ("metrics", [one.resource for request in backend.sink.metrics for one in request.resource_metrics]),
    ):
        for resource in resources:
            named = {item.key: item.value.string_value for item in resource.attributes}
            assert len(named.pop("service.instance.id")) == 36
            found[kind].add(json.dumps(named, sort_keys=True))
    return found


def instruments(backend: Backend) -> dict[str, tuple[str, int, list[str]]]:
    """The metrics that arrived: kind, temporality, labels."""
    assert backend.sink is not None
    return {
        metric.name: (
            metric.WhichOneof("data"),
            metric.sum.aggregation_temporality,
            sorted(item.value.string_value for point in metric.sum.data_points for item in point.attributes),
        )
        for request in backend.sink.metrics
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


INSTRUMENTS = {
    "mem0.write_queue_size": ("gauge", 0, []),
    "telemetry.spans.lost": (
        "sum",
        AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE,
        ["buffer_full", "queue_full", "refused", "shutdown"],
    ),
}


def all_that_leaves(backend: Backend, variables: dict[str, str]) -> dict[str, object]:
    """One message's worth, in processes with these variables."""
    assert backend.sink is not None
    restart(backend, variables)
    backend.sink.requests.clear()
    backend.sink.metrics.clear()
    backend.flush_redis()
    left = everything_of_a_message(backend)
    until(lambda: INSTRUMENTS.keys() <= instruments(backend).keys(), "both metrics")
    health = backend.http.get(backend.url("/health")).json()
    return left | {
        "identity": identity(backend),
        "instruments": instruments(backend),
        "health": {name: health[name] for name in ("status", "dead_jobs", "spans_lost")},
        "metrics": backend.http.get(backend.url("/metrics")).status_code,
        "log": [line for line in logged(backend) if "level" not in line],
    }


def logged(backend: Backend) -> list[str]:
    """The lines of service and worker since their last start."""
    logs = (log_file(backend.stack.folder, name).read_text("utf-8", "replace") for name in ("service", "worker"))
    return [line for log in logs for line in log.rpartition("----- started ")[2].splitlines()[1:]]


@pytest.fixture(scope="module")
def expected(plain: Backend) -> dict[str, object]:
    """What one message leaves where the machine has no variables of its own."""
    left = all_that_leaves(plain, {})
    assert left["instruments"] == INSTRUMENTS
    assert (left["health"], left["metrics"]) == (
        {"status": "ok", "dead_jobs": {}, "spans_lost": dict.fromkeys(LostSpans.REASONS, 0)},
        200,
    )
    return left


@pytest.mark.parametrize("value", [None, NONSENSE], ids=["harmful", "nonsense"])
def test_no_variable_that_is_not_meant_changes_anything(
    plain: Backend, expected: dict[str, object], value: str | None
) -> None:
    assert all_that_leaves(plain, hostile(value)) == expected


class Proxy(ThreadingHTTPServer):
    """A forward proxy on this machine that finds every host at one address, and tells who was asked for."""

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), Forwarding)
        self.target = target
        self.asked: set[tuple[str, str, str]] = set()


class Forwarding(BaseHTTPRequestHandler):
    """One request, which names its host as one to a proxy does."""

    server: Proxy

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        self.server.asked.add((str(url.hostname), url.path, self.headers.get("Proxy-Authorization", "")))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name: self.headers[name] for name in ("Content-Type", "apikey") if name in self.headers}
        answer = httpx.post(self.server.target + url.path, content=body, headers=headers, trust_env=False)
        self.send_response(answer.status_code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_with_a_proxy_in_the_settings_what_is_outside_is_reached_by_it(plain: Backend) -> None:
    with Proxy(plain.stack.url("simulator")) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        outside = {
            "OUTBOUND_PROXY": f"http://clinic:word@127.0.0.1:{proxy.server_port}",
            "EVOLUTION_API_URL": "http://evolution.clinic.example",
            "EMBEDDINGS_URL": "http://embeddings.clinic.example:8080/v1",
            "LLM_URL": "http://model.clinic.example/v1",
        }
        restart(plain, outside)
        number = patient()
        plain.post(event(number, "Tenho dor de cabeça e febre desde ontem, posso tomar dipirona?"))
        until(lambda: plain.settled(number), "its jobs are done")
        assert plain.stored(number) == {"messages": 1, "reply jobs": 1, "memories": 1, "replies": 1}
        credentials = "Basic " + base64.b64encode(b"clinic:word").decode()
        assert proxy.asked == {
            ("evolution.clinic.example", "/message/sendText/clinic-test", credentials),
            ("embeddings.clinic.example", "/v1/embeddings", credentials),
            ("model.clinic.example", "/v1/chat/completions", credentials),
        }
        proxy.shutdown()


@pytest.mark.parametrize(
    ("address", "by_proxy"),
    [
        ("http://simulator:8085", False),
        ("http://localhost:8085", False),
        ("http://127.0.0.1:8085", False),
        ("http://10.1.2.3", False),
        ("http://[::1]:80", False),
        ("http://evolution.clinic.svc.cluster.local", False),
        ("https://api.openai.com/v1", True),
        ("http://8.8.8.8", True),
    ],
)
def test_what_is_inside_is_reached_without_the_proxy(address: str, by_proxy: bool) -> None:
    settings = Settings(
        database_url=SecretStr("postgresql://"),
        webhook_secret=SecretStr("x"),
        outbound_proxy=SecretStr("http://proxy.example:3128"),
    )
    assert (proxy_for(address, settings) is not None) == by_proxy


@pytest.mark.skipif(PROGRAM is None, reason="no pgbouncer is installed")
def test_by_a_pooler_with_two_connections_each_message_has_one_reply_and_one_memory(plain: Backend) -> None:
    with pooler(plain.stack.folder, connections=2) as url:
        restart(plain, {"DATABASE_URL": url, "DATABASE_POOLER": "true", "DATABASE_POOL_SIZE": "2"})
        numbers = [patient() for _ in range(6)]
        bodies = [event(number) for number in numbers for _ in range(3)]
        with ThreadPoolExecutor(8) as several:
            answers = list(several.map(plain.post, bodies))
        assert Counter(answer.status_code for answer in answers) == {200: len(bodies)}
        until(lambda: all(map(plain.settled, numbers)), "all jobs are done")
        each = {"messages": 3, "reply jobs": 3, "memories": 3, "replies": 3}
        assert [plain.stored(number) for number in numbers] == [each] * len(numbers)
        assert plain.rows("select max(attempts) from jobs where patient = any(%s)", numbers) == [(0,)]
        assert plain.http.get(plain.url("/health")).json()["status"] == "ok"
        assert [line for line in logged(plain) if '"warning", "logger": "app' in line] == []
        for name in ("worker", "service"):
            plain.stack.stop(name)


def test_the_workers_heartbeat_is_as_young_as_its_last_look_into_the_outbox(plain: Backend, tmp_path: Path) -> None:
    heartbeat = tmp_path / "heartbeat"
    restart(plain, {"HEARTBEAT_FILE": str(heartbeat)})
    until(heartbeat.exists, "the worker has looked into the outbox")

    def failures() -> int:
        return plain.stack.log("worker").read_text("utf-8").count("the outbox can't be worked on")

    plain.stack.kill("postgres")
    try:
        until(lambda: failures() > 0, "the outbox is away")
        heartbeat.unlink(missing_ok=True)
        before = failures()
        until(lambda: failures() > before + 6, "each of its six has tried in vain")
        assert not heartbeat.exists()
    finally:
        plain.stack.start("postgres")
    until(heartbeat.exists, "the worker looks into the outbox again")


def test_health_tells_of_spans_that_do_not_get_through_to_a_collector_that_is_up(plain: Backend) -> None:
    restart(plain, {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{Ports.free().collector_grpc}"})

    def health() -> dict[str, object]:
        answer: dict[str, object] = httpx.get(f"{plain.stack.url('service')}/health", trust_env=False).json()
        return answer

    assert (health()["status"], health()["spans_waiting_seconds"]) == ("ok", 0)
    plain.post(event(patient()))
    until(lambda: health()["status"] == "degraded", "the spans have waited for long")
    assert health()["checks"] == {"postgresql": "up", "redis": "up", "collector": "up"}
    restart(plain, {})
    until(lambda: health()["status"] == "ok", "another process has a Collector")
