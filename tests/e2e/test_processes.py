"""Four processes of the service, as WEB_CONCURRENCY=4 starts them: one truth, whoever of them dies.

Read at the Collector, which flushes twice a second here: nothing counted depends on how often.
"""

import re
import socket
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice, repeat

import httpx
import psutil
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families

from simulator.messages import Delivery, generate, stream
from tests.support.backend import Backend, attributes, event, patient
from tools.base.otlp_sink import Sink
from tools.base.wait import until
from tools.model.expected import SHIPPED, Labels, Samples, undocumented
from tools.stack.ports import HOST, holder

PROCESSES = 4
MESSAGES = 200
CLIENTS = 16
FLOODED = 5_000  # requests that differ in each field: what two busy cores answer in some ten seconds

Answers = Counter[tuple[str, str]]
"""Requests by lane and status."""


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    """The trace store."""
    with Sink().listening() as store:
        yield store


@pytest.fixture(scope="module")
def backend(sink: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """The service in four processes behind one port, its worker, and the Collector."""
    settings = {"WEB_CONCURRENCY": str(PROCESSES), "DATABASE_POOL_SIZE": "5", "REPLIES_PER_SENDER_PER_MINUTE": "1000"}
    backend = Backend(tmp_path_factory.mktemp("processes"), environment=settings)
    collector = {"TRACE_STORE_ENDPOINT": sink.endpoint, "DERIVE_INTERVAL": "500ms"}
    backend.stack.environment = {**backend.stack.environment, "otel-collector": collector}
    try:
        backend.stack.up(only=("postgres", "redis", "simulator", "worker", "otel-collector", "service"))
        until(lambda: len(reporting(backend)) == PROCESSES, "each process reports the queue")
        yield backend
    finally:
        backend.http.close()
        backend.stack.remove()


def exposed(backend: Backend) -> Samples:
    """What the Collector shows of the derived metrics; all of it documented."""
    samples: Samples = {}
    for family in text_string_to_metric_families(backend.http.get(backend.stack.url("otel-collector")).text):
        for sample in family.samples:
            assert undocumented(sample.name, sample.labels) == ""
            samples[sample.name, frozenset(sample.labels.items())] = sample.value
    return samples


def counted(backend: Backend, metric: str = "webhook_requests_total") -> Answers:
    """Requests by lane and status, as a metric has them."""
    found = ((dict(labels), value) for (name, labels), value in exposed(backend).items() if name == metric)
    return +Counter({(labels["lane"], labels["status"]): int(value) for labels, value in found})


def reporting(backend: Backend) -> set[str]:
    """The processes that report the level of the queue."""
    return {dict(labels)["instance"] for name, labels in exposed(backend) if name == "mem0_write_queue_size"}


def derived(samples: Samples) -> set[tuple[str, Labels]]:
    """The series made from spans, but for errors: a machine that is too busy makes some, and their first series."""
    return {
        (name, labels)
        for name, labels in samples
        if name not in SHIPPED.instruments and name != "errors_total" and ("status", "error") not in labels
    }


def deliver(backend: Backend, deliveries: Iterable[Delivery]) -> Answers:
    """Send, each on a connection of its own, so that any process may get it; again if one died over it."""

    def one(delivery: Delivery) -> tuple[str, str]:
        secret = backend.secret if delivery.genuine else "wrong"
        headers = {"X-Webhook-Secret": secret, "Connection": "close"}
        while True:
            try:
                response = backend.http.post(backend.url(delivery.path), content=delivery.body, headers=headers)
            except httpx.TransportError:
                continue
            body = response.json()
            return body.get("lane", "none"), body.get("status", "rejected")

    with ThreadPoolExecutor(CLIENTS) as threads:
        return Counter(threads.map(one, deliveries))


def wait_for(backend: Backend, wanted: Answers) -> None:
    """Until both webhook metrics are exactly this; where they never are, show both."""
    for metric in ("webhook_requests_total", "webhook_request_duration_seconds_count"):
        with suppress(TimeoutError):
            until(lambda metric=metric: counted(backend, metric) == wanted, metric, every=0.2)  # type: ignore[misc]
        assert counted(backend, metric) == wanted


def workers(backend: Backend) -> list[psutil.Process]:
    """The processes that serve; their parent only watches them."""
    watching = psutil.Process(backend.stack.pid("service"))
    return [child for child in watching.children() if "spawn_main" in " ".join(child.cmdline())]


def serving_spans(sink: Sink) -> list[tuple[str, Span]]:
    """Each stored span of a webhook request, and the process that made it."""
    found = []
    for request in list(sink.requests):
        for resource in request.resource_spans:
            of = {item.key: item.value.string_value for item in resource.resource.attributes}
            spans = (span for scope in resource.scope_spans for span in scope.spans)
            found += [(of["service.instance.id"], span) for span in spans if span.kind == Span.SPAN_KIND_SERVER]
    return found


def test_what_four_processes_are_sent_is_what_is_counted(backend: Backend, sink: Sink) -> None:
    deliveries = generate(seed=41, count=MESSAGES)
    answers = deliver(backend, deliveries)
    assert answers == Counter((delivery.lane, delivery.status) for delivery in deliveries)
    wait_for(backend, answers)
    served_by = until(
        lambda: [one for one, _ in serving_spans(sink)] if len(serving_spans(sink)) == MESSAGES else [], "traces"
    )
    assert len(set(served_by)) == len(reporting(backend)) == PROCESSES
    assert {one for one in served_by if not one.startswith(tuple(reporting(backend)))} == set()


def test_after_a_kill_amid_the_load_what_is_counted_is_what_is_stored(backend: Backend, sink: Sink) -> None:
    """What died with the process is in neither; what it had exported is in both, once."""
    before, known = exposed(backend), reporting(backend)
    running = counted(backend).total() + CLIENTS
    with ThreadPoolExecutor(1) as threads:
        sending = threads.submit(deliver, backend, generate(seed=60, count=2 * MESSAGES))
        until(lambda: counted(backend).total() > running, "the load runs")
        workers(backend)[0].kill()  # as the kernel does when memory is short; uvicorn starts another
        assert sending.result().total() == 2 * MESSAGES
    until(lambda: len(reporting(backend) - known) == 1, "the new one reports")
    marked = counted(backend)["none", "ignored"]
    deliver(backend, own_messages(marks := 4 * PROCESSES))
    until(lambda: counted(backend)["none", "ignored"] >= marked + marks, "what was sent last is counted")
    until(lambda: stored(sink) == counted(backend), "what is counted is stored")
    assert derived(exposed(backend)) == derived(before)


def test_processes_that_were_all_killed_count_on_in_the_same_series(backend: Backend) -> None:
    before, sent, known = exposed(backend), counted(backend), reporting(backend)
    backend.stack.kill("service")
    until(lambda: holder(backend.stack.ports.service) is None, "the last process has let go of the port")
    backend.stack.start("service")
    until(lambda: len(reporting(backend) - known) == PROCESSES, "the new ones report")
    wait_for(backend, sent + deliver(backend, generate(seed=62, count=MESSAGES)))
    assert derived(exposed(backend)) == derived(before)


def own_messages(count: int) -> Iterator[Delivery]:
    """Deliveries that are ignored, and so may be repeated."""
    own = next(delivery for delivery in stream(seed=61) if delivery.status == "ignored")
    return repeat(own, count)


def stored(sink: Sink) -> Answers:
    """Requests by lane and status, as the trace store has them."""
    found = (attributes(span) for _, span in serving_spans(sink))
    return Counter((labels["lane"], labels["status"]) for labels in found if "family" in labels)


def test_a_flood_of_requests_that_differ_in_everything_makes_no_series_and_no_count_wrong(backend: Backend) -> None:
    before, sent = exposed(backend), counted(backend)
    answers = flood(backend, (STRANGER % {b"n": b"%06x" % number} for number in range(FLOODED)))
    assert answers == {401: FLOODED}
    assert flood(backend, (SCANNER % {b"n": b"%06x" % number} for number in range(FLOODED // 10))) == {
        404: FLOODED // 10
    }
    for number in range(FLOODED // 100):
        unknown = event(patient()) | {"event": f"maria.{number}", "instance": f"clinic-{number}"}
        assert backend.post(unknown, f"/maria-{number}", User_Agent=f"maria/{number}").status_code == 200
    sent += Counter({("none", "rejected"): FLOODED, ("none", "ignored"): FLOODED // 100})
    wait_for(backend, sent)
    assert derived(exposed(backend)) == derived(before)


STRANGER = b"""POST /webhooks/evolution/patient-%(n)s?phone=%(n)s HTTP/1.1
Host: maria-%(n)s
User-Agent: maria/%(n)s
X-Forwarded-For: 2001:db8::%(n)s
X-Request-Id: %(n)s
Traceparent: 00-0000000000000000000000000a%(n)s-0000000000%(n)s-01
Tracestate: ot=th:f%(n)s
Baggage: lane=%(n)s
Content-Length: 0

""".replace(b"\n", b"\r\n")
SCANNER = b"GET /patient-%(n)s/admin.php?lane=%(n)s HTTP/1.1\r\nHost: %(n)s\r\nUser-Agent: %(n)s\r\n\r\n"
STATUS = re.compile(rb"HTTP/1\.1 (\d+)")
AT_ONCE = 50  # requests on one connection, one after the other without waiting


def flood(backend: Backend, requests: Iterator[bytes]) -> Counter[int]:
    """Send them as fast as the service answers; the codes of the answers."""
    batches = iter(lambda: list(islice(requests, AT_ONCE)), [])
    with ThreadPoolExecutor(CLIENTS) as threads:
        return sum(threads.map(lambda batch: pipelined(backend, batch), batches), Counter())


def pipelined(backend: Backend, requests: list[bytes]) -> Counter[int]:
    """Send them on one connection; the codes of the answers."""
    received = b""
    with socket.create_connection((HOST, backend.stack.ports.service), timeout=30) as connection:
        connection.sendall(b"".join(requests))
        while len(STATUS.findall(received)) < len(requests):
            received += connection.recv(65536)
    return Counter(int(code) for code in STATUS.findall(received))
