"""A message is handled once, however often and under whatever circumstances it is delivered."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest

from tests.support.backend import Backend, attributes, event, new_id, patient
from tools.base.wait import until

ONCE = {"messages": 1, "reply jobs": 1, "memories": 1, "replies": 1}


def redis_is(backend: Backend, state: str) -> None:
    """Put Redis into a state: up, down, or flushed."""
    if state == "down":
        backend.stack.kill("redis")
    if state == "flushed":
        backend.flush_redis()


def settled_once(backend: Backend, number: str) -> None:
    until(lambda: backend.settled(number), "the jobs are done")
    assert backend.stored(number) == ONCE


@pytest.mark.parametrize("redis", ["up", "down", "flushed"])
def test_deliveries_one_after_the_other(backend: Backend, redis: str) -> None:
    number = patient()
    body = event(number)
    statuses = [backend.post(body).json()["status"]]
    redis_is(backend, redis)
    statuses += [backend.post(body).json()["status"] for _ in range(3)]
    assert statuses == ["success", "duplicate", "duplicate", "duplicate"]
    settled_once(backend, number)


@pytest.mark.parametrize("redis", ["up", "down"])
def test_a_hundred_deliveries_at_once(backend: Backend, redis: str) -> None:
    redis_is(backend, redis)
    number, message_id = patient(), new_id()
    body = event(number, message_id=message_id)
    with ThreadPoolExecutor(100) as threads:
        answers = list(threads.map(lambda _: backend.post(body), range(100)))
    assert Counter(answer.status_code for answer in answers) == {200: 100}
    assert Counter(answer.json()["status"] for answer in answers) == {"success": 1, "duplicate": 99}
    settled_once(backend, number)
    assert backend.sink is not None
    results = Counter(results_of(backend, message_id))
    assert results == {"duplicate": 99, "new": 1}


def results_of(backend: Backend, message_id: str) -> list[str]:
    """The results of all idempotency checks of a message."""
    sink = backend.sink
    assert sink is not None

    def checks() -> list[str]:
        spans = sink.spans()
        traces = {span.trace_id for span in spans if attributes(span).get("message_id") == message_id}
        found = [
            attributes(span)["result"] for span in spans if span.name == "idempotency.check" and span.trace_id in traces
        ]
        return found if len(found) == 100 else []

    return until(checks, "a hundred checks")


def test_the_same_id_at_another_instance_is_another_message(backend: Backend) -> None:
    number, message_id = patient(), new_id()
    body = event(number, message_id=message_id)
    assert backend.post(body).json()["status"] == "success"
    assert backend.post(body | {"instance": "another-clinic"}).json()["status"] == "success"


@pytest.mark.parametrize("redis", ["up", "down", "flushed"])
@pytest.mark.parametrize("step", ["messages", "patients", "jobs"])
def test_kill_9_between_the_steps_leaves_nothing_behind(backend: Backend, step: str, redis: str) -> None:
    """A lock on the table that a step writes stops the service exactly there; then it is killed."""
    number = patient()
    body = event(number)
    with psycopg.connect(backend.stack.url("postgres")) as blocker, ThreadPoolExecutor(1) as threads:
        blocker.execute(f"lock table {step} in share mode")
        delivery = threads.submit(backend.post, body)
        waiting = "select count(*) from pg_locks where not granted and relation = %s::regclass"
        until(lambda: backend.rows(waiting, step) == [(1,)], f"the service waits for {step}")
        backend.stack.kill("service")
        with pytest.raises(httpx.TransportError):
            delivery.result()
    redis_is(backend, redis)
    assert backend.stored(number) == {"messages": 0, "reply jobs": 0, "memories": 0, "replies": 0}
    backend.stack.start("service")
    assert backend.post(body).json()["status"] == "success"
    assert backend.post(body).json()["status"] == "duplicate"
    settled_once(backend, number)


def test_kill_9_after_the_commit_before_redis_knows(backend: Backend) -> None:
    number = patient()
    body = event(number)
    redis_is(backend, "down")  # so the mark is never written
    assert backend.post(body).json()["status"] == "success"
    backend.stack.kill("service")
    backend.stack.start("redis")
    backend.stack.start("service")
    assert backend.post(body).json()["status"] == "duplicate"
    settled_once(backend, number)


def test_a_worker_killed_while_it_writes_a_memory_leaves_one_memory(backend: Backend) -> None:
    number = patient()
    asked = backend.asked("embeddings")
    backend.fault(embeddings={"delay_seconds": 1})
    backend.post(event(number))
    until(lambda: backend.asked("embeddings") > asked, "the memory is in work")
    backend.stack.kill("worker")
    backend.fault(embeddings=None)
    backend.stack.start("worker")
    until(lambda: backend.settled(number), "the jobs are done")
    assert backend.stored(number) | {"replies": 1} == ONCE


def test_a_worker_killed_between_acceptance_and_record_sends_a_second_reply_and_no_third(backend: Backend) -> None:
    """The one case that can't be closed without Evolution's help; docs/operations.md says so."""
    number = patient()
    asked = backend.asked("send_text")
    backend.fault(send_text={"delay_seconds": 2})
    backend.post(event(number))
    until(lambda: backend.asked("send_text") > asked, "Evolution has the reply")
    memory = "select count(*) from memories where payload->>'user_id' = %s"
    until(lambda: backend.rows(memory, number) == [(1,)], "the memory is written")
    backend.stack.kill("worker")
    until(lambda: backend.replies(number), "Evolution accepts it all the same")
    backend.fault(send_text=None)
    backend.stack.start("worker")
    until(lambda: backend.settled(number), "the jobs are done")
    assert backend.stored(number) == ONCE | {"replies": 2}
