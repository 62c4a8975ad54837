"""The proof: canaries in every input of the running system, everything fails once, nothing of them in any output."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest

from tests.leaks import otlp_canaries, what_leaves, whole_stack
from tests.leaks.canaries import CANARIES, CPF, NAME, hits
from tests.leaks.conftest import Account
from tests.leaks.webhook_canaries import Request, encode, text_event
from tests.leaks.whole_stack import Whole
from tests.support.backend import attributes


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """After everything was planted and failed."""
    with whole_stack.running(tmp_path_factory.mktemp("whole")) as whole:
        whole_stack.plant(whole)
        whole_stack.fail_in_redis(whole)
        whole_stack.fail_in_postgresql(whole)
        with whole_stack.among_echoes(whole):
            whole_stack.settle(whole)
            yield whole


def test_nothing_of_a_patient_leaves(whole: Whole, account: Account) -> None:
    outputs = what_leaves.everything(whole)
    found = hits(CANARIES, outputs)
    assert found == []
    account.add("whole stack", CANARIES, inputs=whole.inputs, outputs=outputs)


def test_the_canaries_did_arrive(whole: Whole) -> None:
    found = {(hit.canary, hit.output) for hit in hits(CANARIES, whole_stack.kept(whole))}
    assert {output for _, output in found} == {"messages", "patients", "jobs", "memories"}
    assert {canary for canary, output in found if output == "messages"} == {canary.name for canary in CANARIES}


ANSWERS = {200, 400, 401, 403, 404, 405, 413, 422, 503}
ERRORS = {
    ("database", "connection"),
    ("database", "constraint"),
    ("database", "invalid"),
    ("cache", "internal"),
    ("cache", "invalid"),
    ("idempotency", "internal"),
    ("llm", "unavailable"),
    ("mem0", "constraint"),
    ("mem0", "connection"),
    ("mem0", "refused"),
    ("mem0", "unavailable"),
    ("pipeline", "internal"),
    ("reply", "refused"),
    ("reply", "unavailable"),
}


def test_everything_did_fail(whole: Whole) -> None:
    assert set(whole.statuses) == ANSWERS
    found = [attributes(span) for span in whole_stack.spans(whole)]
    failed = {(one["component"], one["error.type"]) for one in found if "component" in one}
    assert failed >= ERRORS, ERRORS - failed


ANYTHING = {"pattern": "(?s).*"}
LEAKS = {  # what is let through, and what is then found there; URLs and headers are never made attributes
    "spans.attributes[message_id]": CPF,
    "spans.events.attributes[exception.message]": NAME,
    "spans.events.attributes[exception.stacktrace]": NAME,
}


def test_with_a_broken_allow_list_the_service_leaks_is_found_out_and_the_collector_stops_it(
    whole: Whole, tmp_path: Path
) -> None:
    document = deepcopy(otlp_canaries.CONTRACT)
    for path in LEAKS:
        document["attributes"]["event" if "events" in path else "span"][path[path.index("[") + 1 : -1]] = ANYTHING
    event = text_event()
    event["data"]["key"]["id"] = CPF.text
    with whole_stack.with_contract(whole, tmp_path, document):
        whole.send(Request(encode(event)))
        with whole_stack.broken(whole.backend, "patients", "raise unique_violation using message = new.name;"):
            assert whole.post() == 503
        whole_stack.wait_counted(whole)
    found = {(hit.output, hit.canary) for hit in hits(CANARIES, what_leaves.otlp_of_the_service(whole))}
    for path, canary in LEAKS.items():
        assert (f"service, resource_spans.scope_spans.{path}.string_value", canary.name) in found
    stored = {**what_leaves.traces(whole), **what_leaves.collector(whole), **what_leaves.prometheus(whole)}
    assert hits(CANARIES, stored) == []
