"""What the service depends on goes away, hangs and comes back."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.backend import Backend, attributes, event, new_id, patient
from tools.base.wait import until


def failures(backend: Backend, message_id: str) -> list[tuple[str, str, str]]:
    """Span, component and type of each error counted while a message was handled."""
    return [
        (span.name, found["component"], found["error.type"])
        for span in backend.trace(message_id)
        if "component" in (found := attributes(span))
    ]


def uses_redis(backend: Backend) -> bool:
    """Whether the next message asks Redis: after a failure it is left alone for two seconds."""
    backend.post(event(patient(), message_id=(message_id := new_id())))
    return "GET" in {span.name for span in backend.trace(message_id)}


def test_redis_down_messages_are_answered_and_the_error_is_counted(backend: Backend) -> None:
    until(lambda: uses_redis(backend), "the breaker of the test before is closed")
    backend.stack.kill("redis")
    message_id = new_id()
    assert backend.post(event(patient(), message_id=message_id)).json() == {"status": "success", "lane": "price"}
    assert failures(backend, message_id) == [("idempotency.check", "idempotency", "connection")]
    looked_up = [attributes(span)["result"] for span in backend.trace(message_id) if span.name == "cache.get"]
    assert looked_up == ["miss", "miss"]


def first_to_ask(backend: Backend) -> str:
    """The id of a message that asked Redis, or nothing; answered in any case."""
    message_id = new_id()
    assert backend.post(event(patient(), message_id=message_id)).json() == {"status": "success", "lane": "price"}
    return message_id if failures(backend, message_id) else ""


def test_redis_hung_costs_one_time_out_and_not_one_a_call(backend: Backend) -> None:
    pid = backend.stack.pid("redis")
    assert pid
    until(
        lambda: backend.post(event(patient())).json()["status"] == "success", "the breaker of the last test is closed"
    )
    os.kill(pid, signal.SIGSTOP)
    try:
        message_id = until(lambda: first_to_ask(backend), "a message asks Redis")
        assert failures(backend, message_id) == [("idempotency.check", "idempotency", "timeout")]
        systems = [attributes(span).get("db.system.name") for span in backend.trace(message_id)]
        assert systems.count("redis") == 1
    finally:
        os.kill(pid, signal.SIGCONT)


def test_postgresql_away_means_503_no_reply_and_one_reply_after_evolutions_retry(backend: Backend) -> None:
    number = patient()
    body = event(number)
    backend.stack.stop("postgres")
    answer = backend.post(body)
    assert (answer.status_code, list(answer.json())) == (503, ["error"])
    assert backend.replies(number) == []
    backend.stack.start("postgres")
    assert backend.post(body).json() == {"status": "success", "lane": "price"}
    until(lambda: backend.settled(number), "mem0 has connections again, and the jobs are done")
    assert backend.stored(number) == {"messages": 1, "reply jobs": 1, "memories": 1, "replies": 1}


def test_the_service_starts_while_everything_is_away_and_works_when_it_is_back(backend: Backend) -> None:
    assert backend.sink is not None
    for name in ("service", "postgres", "redis"):
        backend.stack.stop(name)
    backend.sink.close()
    backend.stack.start("service")
    health = backend.http.get(backend.url("/health"))
    assert health.status_code == 503
    assert health.json()["status"] == "unavailable"
    assert health.json()["checks"] == {"postgresql": "down", "redis": "down", "collector": "down"}
    message_id = new_id()
    body = event(patient(), message_id=message_id)
    assert backend.post(body).status_code == 503
    backend.stack.start("postgres")
    backend.stack.start("redis")
    backend.sink.open()
    until(lambda: backend.post(body).status_code == 200, "PostgreSQL is found again")
    backend.trace(message_id, "mem0.write")


def test_evolution_and_mem0_failing_leaves_webhooks_alone_and_the_jobs_are_done_later(backend: Backend) -> None:
    backend.fault(send_text={"status": 503}, embeddings={"status": 503})
    number, message_id = patient(), new_id()
    assert backend.post(event(number, message_id=message_id)).json()["status"] == "success"
    attempts = "select min(attempts) from jobs where patient = %s"
    until(lambda: backend.rows(attempts, number)[0][0] >= 2, "each job failed twice")
    assert backend.stored(number) == {"messages": 1, "reply jobs": 1, "memories": 0, "replies": 0}
    backend.fault(send_text=None, embeddings=None)
    until(lambda: backend.settled(number), "the jobs are done")
    assert backend.stored(number) == {"messages": 1, "reply jobs": 1, "memories": 1, "replies": 1}
    for name, component in (("reply.send", "reply"), ("mem0.write", "mem0")):
        *failed, last = until(lambda name=name: attempts_until_success(backend, message_id, name), name)  # type: ignore[misc]
        assert failed == [{"status": "error", "component": component, "error.type": "unavailable"}] * len(failed)
        assert len(failed) >= 2
        assert last == {"status": "success"}


def attempts_until_success(backend: Backend, message_id: str, name: str) -> list[dict[str, object]]:
    """The attributes of a job's spans in their order, once the last one is a success."""
    found = [attributes(span) for span in backend.trace(message_id) if span.name == name]
    return found if found and found[-1]["status"] == "success" else []


def test_a_slow_evolution_and_a_slow_mem0_do_not_slow_the_webhook(backend: Backend) -> None:
    backend.fault(send_text={"delay_seconds": 3}, embeddings={"delay_seconds": 3})
    number, message_id = patient(), new_id()
    backend.post(event(number, message_id=message_id))
    until(lambda: backend.settled(number), "the slow jobs are done")
    spans = {span.name: span for span in backend.trace(message_id, "reply.send", "mem0.write")}
    server_end = spans["POST /webhooks/evolution"].end_time_unix_nano
    for name in ("reply.send", "mem0.write"):
        assert spans[name].end_time_unix_nano - spans[name].start_time_unix_nano >= 3_000_000_000
        assert spans[name].end_time_unix_nano > server_end


@pytest.mark.parametrize("status", [400, 404, 410, 413, 422])
def test_a_refused_reply_is_tried_again_since_the_instance_may_be_restarting(backend: Backend, status: int) -> None:
    backend.fault(send_text={"status": status})
    number = patient()
    backend.post(event(number))
    refused = "select state from jobs where patient = %s and kind = 'reply' and refusals >= 2"
    until(lambda: backend.rows(refused, number) == [("waiting",)], "the reply was refused twice")
    backend.fault(send_text=None)
    until(lambda: backend.settled(number), "the reply is sent")
    assert len(backend.replies(number)) == 1


def test_refusals_are_counted_apart_from_failures_and_the_last_one_is_the_end(backend: Backend) -> None:
    backend.fault(send_text={"status": 503})
    number = patient()
    backend.post(event(number))
    job = "select attempts - refusals, refusals, state from jobs where patient = %s and kind = 'reply'"
    until(lambda: backend.rows(job, number)[0][0] >= 1, "Evolution was away")
    update = "update jobs set attempts = attempts + %s, refusals = refusals + %s where patient = %s and kind = 'reply'"
    backend.rows(update, 10, 0, number)  # for hours
    backend.fault(send_text={"status": 404})
    until(lambda: backend.rows(job, number)[0][1] >= 1, "its instance is not loaded yet")
    assert backend.rows(job, number)[0][2] == "waiting"
    backend.rows("update jobs set refusals = 7, run_at = now() where patient = %s and kind = 'reply'", number)
    until(lambda: backend.rows(job, number)[0][1:] == (8, "dead"), "the eighth refusal is the last")


def test_a_reply_to_a_number_that_does_not_exist_is_dead_at_once_shown_and_replayed_on_command(
    backend: Backend,
) -> None:
    backend.rows("delete from jobs where state = 'dead'")
    backend.fault(send_text={"unknown_number": True})
    number = patient()
    backend.post(event(number))
    dead = "select count(*) from jobs where patient = %s and state = 'dead'"
    until(lambda: backend.rows(dead, number) == [(1,)], "the reply is given up")
    assert backend.rows("select attempts, refusals from jobs where patient = %s and kind = 'reply'", number) == [(1, 1)]
    assert backend.http.get(backend.url("/health")).json()["dead_jobs"] == {"reply": 1}
    assert backend.admin("dead").splitlines()[0] == "dead jobs: 1 reply"
    log = backend.stack.log("worker").read_text("utf-8")
    assert "a reply job failed (ReplyRefusedError 400), given up" in log
    assert number not in log
    backend.fault(send_text=None)
    assert backend.admin("replay").splitlines()[0] == "1 dead jobs run again"
    until(lambda: backend.settled(number), "the reply is sent")
    assert len(backend.replies(number)) == 1
    assert backend.admin("dead").splitlines()[0] == "dead jobs: none"


def test_a_wrong_key_of_evolutions_api_is_not_the_end_of_a_reply(backend: Backend) -> None:
    backend.fault(send_text={"status": 401})
    number = patient()
    backend.post(event(number))
    failed = "select state from jobs where patient = %s and kind = 'reply' and attempts >= 2"
    until(lambda: backend.rows(failed, number) == [("waiting",)], "the reply was refused twice")
    backend.fault(send_text=None)
    until(lambda: backend.settled(number), "the reply is sent")
    assert len(backend.replies(number)) == 1


def test_erase_removes_one_patient_and_nobody_else(backend: Backend) -> None:
    number, other = patient(), patient()
    for one in (number, other, number):
        backend.post(event(one))
    until(lambda: backend.settled(number) and backend.settled(other), "the jobs are done")
    assert backend.admin("erase", number) == (
        "erased: 4 jobs, 2 messages, 2 memories, 1 patients, 0 hidden ids, 0 kept deliveries\n"
    )
    gone = {"messages": 0, "reply jobs": 0, "memories": 0}
    assert gone.items() <= backend.stored(number).items()
    assert backend.stored(other) == {"messages": 1, "reply jobs": 1, "memories": 1, "replies": 1}


def test_sigterm_under_load_loses_no_accepted_message_and_no_span_of_one(backend: Backend) -> None:
    numbers = [patient() for _ in range(400)]
    accepted: list[str] = []
    cut_off = Event()

    def deliver(number: str) -> None:
        try:
            if not cut_off.is_set() and backend.post(event(number)).status_code == 200:
                accepted.append(number)
        except httpx.TransportError:
            cut_off.set()  # Evolution asks again later; at once would take this process from the one that counts spans

    with ThreadPoolExecutor(8) as threads:
        deliveries = [threads.submit(deliver, number) for number in numbers]
        until(lambda: len(accepted) >= 100, "the load runs")
        backend.stack.stop("service")
        del deliveries
    assert 100 <= len(accepted) < 400
    stored = {row[0] for row in backend.rows("select patient from messages where patient = any(%s)", numbers)}
    assert set(accepted) <= stored
    sink = backend.sink
    assert sink is not None
    ids = {row[0] for row in backend.rows("select message_id from messages where patient = any(%s)", accepted)}
    traces = {span.trace_id for span in sink.spans() if attributes(span).get("message_id") in ids}
    answered = {span.trace_id for span in sink.spans() if span.kind == Span.SPAN_KIND_SERVER}
    assert len(traces) == len(accepted)
    assert traces <= answered


def test_health_summary_and_metrics_say_clearly_that_the_collector_is_away(backend: Backend) -> None:
    health = backend.http.get(backend.url("/health"))
    assert health.status_code == 200
    assert health.json()["status"] == "degraded"
    assert health.json()["checks"] == {"postgresql": "up", "redis": "up", "collector": "down"}
    for path in ("/metrics", "/metrics/summary"):
        answer = backend.http.get(backend.url(path))
        assert (answer.status_code, list(answer.json())) == (503, ["error"])


def test_probes_and_polls_make_no_spans(backend: Backend) -> None:
    sink = backend.sink
    assert sink is not None
    until(lambda: all(row == (0,) for row in backend.rows("select count(*) from jobs where state = 'waiting'")), "idle")
    marker = new_id()
    backend.post(event(patient(), message_id=marker))
    backend.trace(marker, "reply.send", "mem0.write")
    before = {span.span_id for span in sink.spans()}
    for path in ("/health", "/metrics", "/metrics/summary"):
        backend.http.get(backend.url(path))
    marker = new_id()
    backend.post(event(patient(), message_id=marker))
    known = {span.trace_id for span in backend.trace(marker, "reply.send", "mem0.write")}
    assert {span.trace_id for span in sink.spans() if span.span_id not in before} == known
