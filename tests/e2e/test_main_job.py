"""WhatsApp message in, answer out; and what was sent is what Prometheus, the summary and the trace store show."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from threading import Thread

import pytest

from simulator.load import Report, send
from simulator.messages import Delivery, generate
from tests.support.backend import Backend, event, new_id, patient
from tests.support.stored import trace_of, whole_trace_is_stored
from tools.base.wait import until
from tools.model.expected import SHIPPED

OUTAGE_MESSAGES = int(os.environ.get("OUTAGE_MESSAGES", "500"))  # 10 s at RATE; 3000 make it a minute
RATE = 50.0
UNHURRIED = 15.0  # no message waits so long for its turn that it is answered 503 and counted once more


class Counts:
    """What Prometheus counted, in raw values: increase() extrapolates."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._before: dict[tuple[str, tuple[str, ...]], Counter[tuple[str, ...]]] = {}

    def of(self, metric: str, *labels: str) -> Counter[tuple[str, ...]]:
        """Increments since `start`, or ever, by the values of these labels; nothing that is 0."""
        return self._now(metric, labels) - self._before.get((metric, labels), Counter())

    def start(self, metric: str, *labels: str) -> None:
        """Remember the values of now."""
        self._before[metric, labels] = self._now(metric, labels)

    def _now(self, metric: str, labels: tuple[str, ...]) -> Counter[tuple[str, ...]]:
        url = self._backend.stack.url("prometheus") + "/api/v1/query"
        query = {"query": f"sum by ({','.join(labels)}) ({metric})"}
        rows = self._backend.http.get(url, params=query).raise_for_status().json()["data"]["result"]
        return Counter(
            {tuple(row["metric"].get(label, "") for label in labels): int(float(row["value"][1])) for row in rows}
        )


REQUESTS = ("lane", "status")
BY = {
    metric.name + "_count" * (metric.type == "histogram"): tuple(metric.labels) for metric in SHIPPED.derived.values()
}
"""What counts events, of every metric that is made of spans, and all of its labels."""


@pytest.fixture
def counts(backend: Backend) -> Counts:
    """Counters from here on."""
    everything_is_counted(backend)
    counts = Counts(backend)
    for metric, labels in BY.items():
        counts.start(metric, *labels)
    return counts


def everything_is_counted(backend: Backend) -> None:
    """Wait until all jobs are done, and all spans so far are in Prometheus.

    A process's spans arrive in order, so that with a marker all earlier ones are in; the second is for the worker's.
    """
    waiting = "select count(*) from jobs where state = 'waiting'"
    until(lambda: backend.rows(waiting) == [(0,)], "the jobs of the test before are done", seconds=120)
    marker = event(patient())
    marker["data"]["key"]["fromMe"] = True
    for _ in range(2):
        wanted = exposed(backend)["none", "ignored"] + 1
        backend.post(marker)
        until(lambda wanted=wanted: exposed(backend)["none", "ignored"] == wanted, "the marker is counted")  # type: ignore[misc]
    same(lambda: Counts(backend).of("webhook_requests_total", *REQUESTS), exposed(backend), "Prometheus has scraped it")


def deliver(backend: Backend, deliveries: list[Delivery], rate: float = RATE) -> Report:
    return send(deliveries, backend.url(), backend.secret, rate)


def by_endpoint(requests: Mapping[tuple[str, str], int]) -> Counter[tuple[str, ...]]:
    """The same with the endpoint before lane and status, as the contract has them."""
    return Counter({("/webhooks/evolution", *key): count for key, count in requests.items()})


def same(fetch: Callable[[], object], expected: object, what: str) -> None:
    """Wait until both are equal; where they never are, show both."""
    try:
        until(lambda: fetch() == expected, what, every=0.5)
    except TimeoutError:
        assert fetch() == expected


def test_what_was_sent_is_what_is_counted_in_every_metric_and_in_the_summary(backend: Backend, counts: Counts) -> None:
    summary_before = backend.http.get(backend.url("/metrics/summary")).json()
    deliveries = generate(seed=7, count=300)
    patients = sorted({delivery.number for delivery in deliveries if delivery.status == "success"})
    backend.flush_redis()
    for number in patients:  # one after the other: two at once would both miss the caches
        first = event(number)
        first["data"]["key"] |= {"remoteJid": f"9{number[-6:]}00000001@lid", "remoteJidAlt": f"{number}@s.whatsapp.net"}
        assert backend.post(first).json() == {"status": "success", "lane": "price"}
    report = deliver(backend, deliveries, UNHURRIED)
    assert report.answered == Counter((delivery.lane, delivery.status) for delivery in deliveries)
    answered: Counter[tuple[str, str]] = Counter(report.answered) + Counter({("price", "success"): len(patients)})
    requests = by_endpoint(answered)
    same(lambda: counts.of("webhook_requests_total", *BY["webhook_requests_total"]), requests, "all are counted")
    lanes: Counter[tuple[str, ...]] = Counter(
        {(lane,): count for (lane, status), count in answered.items() if status == "success"}
    )
    handled, duplicates = lanes.total(), answered["none", "duplicate"]
    new = [delivery for delivery in deliveries if delivery.status == "success"]
    texts = len(patients) + sum(delivery.remembered for delivery in new)
    replies = len(patients) + sum(delivery.answered for delivery in new)
    hidden = sum(bool(delivery.lid) for delivery in new)
    alone = sum(delivery.kind == "lid_alone" for delivery in new)
    kept: Counter[tuple[str, ...]] = Counter((delivery.status,) for delivery in deliveries if delivery.kept)
    learnt = len(patients)  # hidden ids
    slots = lanes["scheduling",]
    bundle_misses, catalog_misses = len(patients), 1
    late = counts.of("database_query_duration_seconds_count", "operation")["begin",] - handled
    assert 0 <= late <= duplicates  # duplicates that came before Redis knew: PostgreSQL recognised them
    expected: dict[str, dict[tuple[str, ...], int]] = {
        "webhook_requests_total": requests,
        "webhook_request_duration_seconds_count": requests,
        "lane_classification_total": lanes,
        "classification_duration_seconds_count": lanes,
        "duplicate_messages_total": {(): duplicates},
        "idempotency_check_duration_seconds_count": {(): handled + duplicates},
        "context_hydration_duration_seconds_count": {(): handled},
        "hydration_queries_total": {
            ("history",): handled,
            ("patient",): bundle_misses,
            ("memories",): bundle_misses,
            ("catalog",): catalog_misses,
            ("slots",): slots,
        },
        "cache_operation_duration_seconds_count": {
            ("get", "bundle"): handled,
            ("get", "catalog"): handled,
            ("set", "bundle"): bundle_misses,
            ("set", "catalog"): catalog_misses,
            ("delete", "bundle"): 2 * learnt,
        },
        "cache_hits_total": {("bundle",): handled - bundle_misses, ("catalog",): handled - catalog_misses},
        "cache_misses_total": {("bundle",): bundle_misses, ("catalog",): catalog_misses},
        "mem0_writes_total": {("success",): texts},
        "mem0_write_duration_seconds_count": {("success",): texts},
        "reply_sends_total": {("success",): replies},
        "reply_send_duration_seconds_count": {("success",): replies},
        "deliveries_kept_total": dict(kept),
        "database_query_duration_seconds_count": {
            ("begin",): handled + late,
            ("commit",): handled + late,
            ("insert",): 2 * handled + bundle_misses + late + learnt + kept.total(),  # claim, jobs; patient
            ("select",): handled + replies + bundle_misses + catalog_misses + slots + hidden + 3 * learnt,
            ("update",): learnt + alone,  # what was under the hidden id
            ("with",): learnt,
            ("delete",): kept.total(),  # beyond the bounds
        },
        "errors_total": {},
    }
    expected["database_queries_total"] = {
        (operation, "success"): count
        for (operation,), count in expected["database_query_duration_seconds_count"].items()
    }
    assert expected.keys() == BY.keys(), "a metric of the contract that this test does not expect, or the reverse"
    for metric, by_labels in expected.items():
        wanted = +Counter(by_labels)
        same(lambda metric=metric: counts.of(metric, *BY[metric]), wanted, metric)  # type: ignore[misc]

    summary = backend.http.get(backend.url("/metrics/summary")).json()
    grown = {
        (part, field): summary[part][field] - summary_before[part][field]
        for part in summary
        for field in summary[part]
        if field not in ("hit_rate", "queue_size")
    }
    assert grown == {
        ("requests", "total"): answered.total(),
        ("cache", "hits"): 2 * handled - bundle_misses - catalog_misses,
        ("cache", "misses"): bundle_misses + catalog_misses,
        ("mem0", "writes"): texts,
        ("errors", "total"): 0,
        ("duplicates", "total"): duplicates,
    } | {("lanes", lane): lanes[lane,] for lane in SHIPPED.by_name["lane_classification_total"].labels["lane"]}
    cache = summary["cache"]
    assert cache["hit_rate"] == round(100 * cache["hits"] / (cache["hits"] + cache["misses"]), 1)

    def queue() -> object:
        return backend.http.get(backend.url("/metrics/summary")).json()["mem0"]["queue_size"]

    same(queue, 0, "the queue's level has been measured since its end")


def test_memories_can_be_read_back_through_mem0(backend: Backend) -> None:
    number = patient()
    for text in ("Sou alérgica a dipirona", "Prefiro consultas de manhã"):
        backend.post(event(number, text))
    until(lambda: backend.settled(number), "the memories are written")
    program = """
import sys
from app.outbox.memory_job import _open_mem0
from app.settings import Settings
found = _open_mem0(Settings()).search("dipirona alérgica", filters={"user_id": sys.argv[1]}, top_k=1)
print(found["results"][0]["memory"])
"""
    assert backend.python(program, number) == "Sou alérgica a dipirona\n"


def test_a_message_leads_from_its_exemplar_to_its_whole_trace_in_the_store(backend: Backend) -> None:
    number, message_id = patient(), new_id()
    backend.flush_redis()
    backend.post(event(number, "Quero agendar", message_id))
    until(lambda: backend.settled(number), "the jobs are done")
    trace_id = trace_of(backend, message_id)
    whole_trace_is_stored(backend, trace_id)

    def exemplars() -> set[str]:
        url = backend.stack.url("prometheus") + "/api/v1/query_exemplars"
        query = {
            "query": 'webhook_request_duration_seconds_bucket{lane="scheduling"}',
            "start": "0",
            "end": "9999999999",
        }
        found = backend.http.get(url, params=query).json()["data"]
        return {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}

    until(lambda: trace_id in exemplars(), "the exemplar is in Prometheus")


@pytest.mark.parametrize("how", ["refused", "hung"])
def test_an_outage_of_the_collector_costs_no_request_and_no_span(backend: Backend, how: str) -> None:
    """Read at the Collector: what a stopped one had counted is gone, its counters begin anew."""
    everything_is_counted(backend)
    stack = backend.stack
    if how == "refused":
        stack.stop("otel-collector")
        before: Counter[tuple[str, ...]] = Counter()
    else:
        before = exposed(backend)
        os.kill(stack.pid("otel-collector") or 0, signal.SIGSTOP)
    deliveries = generate(seed={"refused": 101, "hung": 102}[how], count=OUTAGE_MESSAGES)
    report = deliver(backend, deliveries)
    assert report.unanswered == 0
    again = Counter({("none", "error"): report.retries})  # a machine out of breath answers 503, and is asked again
    assert Counter(report.answered) - again == Counter((delivery.lane, delivery.status) for delivery in deliveries)
    if how == "refused":
        stack.start("otel-collector")
    else:
        os.kill(stack.pid("otel-collector") or 0, signal.SIGCONT)
    same(lambda: exposed(backend) - before, Counter(report.answered), "the spans of the outage are counted")
    health = backend.http.get(backend.url("/health")).json()
    assert set(health["spans_lost"].values()) == {0}


def exposed(backend: Backend) -> Counter[tuple[str, ...]]:
    """webhook_requests_total by lane and status, as the Collector shows it now."""
    from prometheus_client.parser import text_string_to_metric_families

    exposition = backend.http.get(backend.url("/metrics")).text
    return Counter(
        {
            (sample.labels["lane"], sample.labels["status"]): int(sample.value)
            for family in text_string_to_metric_families(exposition)
            for sample in family.samples
            if sample.name == "webhook_requests_total"
        }
    )


def test_the_service_starts_and_answers_while_the_collector_is_away(backend: Backend) -> None:
    backend.stack.stop("otel-collector")
    backend.stack.stop("service")
    backend.stack.start("service")
    assert backend.post(event(patient())).json() == {"status": "success", "lane": "price"}
    backend.stack.start("otel-collector")
    until(lambda: exposed(backend) == Counter({("price", "success"): 1}), "the span made meanwhile is counted")


def test_requests_that_are_no_webhooks_are_not_counted_and_refused_ones_are(backend: Backend, counts: Counts) -> None:
    url = backend.url("/webhooks/evolution")
    wrong = {"X-Webhook-Secret": "wrong"}
    for method in ("GET", "PUT"):
        backend.http.request(method, url)
    backend.http.post(backend.url("/wp-admin.php"))
    codes = [
        backend.http.post(url, content=b"{").status_code,
        backend.http.post(url + "/5511999990000", content=b"{", headers=wrong).status_code,
        backend.post(b"x" * 11_000_000).status_code,
        backend.post(b"{").status_code,
        backend.http.post(url + "/").status_code,
        backend.http.post(url + "/a/b").status_code,
        backend.http.post(backend.url("/webhooks/whatsapp/5511999990000")).status_code,
    ]
    assert codes == [401, 403, 413, 422, 401, 404, 404]
    refused = by_endpoint(Counter({("none", "rejected"): 7}))
    for metric in ("webhook_requests_total", "webhook_request_duration_seconds_count"):
        same(lambda metric=metric: counts.of(metric, *BY[metric]), refused, metric)  # type: ignore[misc]


def test_several_messages_at_once_from_the_same_thread_of_load_keep_their_traces_apart(backend: Backend) -> None:
    ids = {new_id(): patient() for _ in range(20)}
    threads = [Thread(target=backend.post, args=(event(number, message_id=one),)) for one, number in ids.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    parents = backend.rows("select message_id, traceparent from jobs where message_id = any(%s)", list(ids))
    by_message = {message: {parent for one, parent in parents if one == message} for message in ids}
    assert all(len(parents) == 1 for parents in by_message.values())
    assert len({next(iter(parents)).split("-")[1] for parents in by_message.values()}) == 20
