"""`make plan` runs both versions and tells what an edit changes: metrics, traces, alerts and panels, cost."""

import json
from pathlib import Path

import pytest

from tests.plan.conftest import config, contract
from tools.base.files import Sources
from tools.cli import run
from tools.model.contract import load
from tools.plan import outcomes
from tools.plan.changes import Change, Effect, Plan
from tools.plan.compare import plan
from tools.replay.version import Version
from tools.replay.workload import Workload

ROW = """      - include: span.calls
        experimental_match_labels: {family: webhook.request}
        action: insert
        new_name: webhook_requests_total
        operations: [{action: aggregate_labels, aggregation_type: sum, label_set: [endpoint, lane, status]}]
"""


def test_the_shipped_yaml_keeps_every_promise_of_the_contract(shipped: Sources, tmp_path: Path) -> None:
    rules = load(shipped)
    workload = Workload((rules,))
    version = Version(shipped, tmp_path)
    with version.running():
        version.replay(workload)
    outcome = version.outcome
    print(f"{len(outcome.samples)} samples of {len(rules.metrics)} metrics compared, {len(workload.span_ids)} spans")
    assert outcome.samples == workload.expected(rules)
    assert outcome.meaning == {name: (metric.type, metric.help) for name, metric in rules.by_name.items()}
    assert outcome.exemplars == set(rules.derived)
    assert outcome.linked <= outcome.trace_ids["otlp_grpc"]
    assert {bytes.fromhex(span) for span in outcome.stored["otlp_grpc"]} == workload.span_ids
    assert outcome.copies == {"otlp_grpc": 0}
    assert outcome.leaks == {}
    assert list(outcomes.contract(outcome, workload.expected(rules), rules)) == []


def test_the_workload_is_the_same_every_time_and_has_every_value_of_every_label(shipped: Sources) -> None:
    rules = load(shipped)
    first, second = (b"".join(request.SerializeToString() for request in Workload((rules,)).requests) for _ in range(2))
    assert first == second
    shown = Workload((rules,)).expected(rules)
    for metric in rules.metrics:
        for label, values in metric.labels.items():
            found = {dict(labels)[label] for name, labels in shown if name in metric.samples}
            assert found >= set(values), (metric.name, label)
    statuses = {sent.spec.failed for sent in Workload((rules,)).sent}
    assert statuses == {True, False}


def test_an_edit_that_changes_nothing_is_told_so(watched: Sources) -> None:
    commented = config(watched, ("    send_batch_size: 0\n", "    send_batch_size: 0  # none\n"))
    found = plan(watched, commented, cost=False)
    assert (found.changes, found.effects, found.exit_code) == ([], [], 0)


def test_a_renamed_label_breaks_the_contract_and_whoever_groups_by_it(watched: Sources) -> None:
    found = plan(watched, config(watched, (ROW, ROW.replace("lane,", "lanes,"))), cost=False)
    assert texts(found, "metrics") == ["webhook_requests_total: label lane is lost, 72 → 12 series"]
    wanted = ["endpoint", "job", "lane", "status"]
    assert texts(found, "contract") == [
        f"webhook_requests_total: has the labels ['endpoint', 'job', 'status'], not {wanted}",
        "webhook_requests_total: of 72 samples that the contract promises: 72 missing",
    ]
    assert fates(found) == {
        "recording rule job_lane:webhook_requests:rate5m": "changes meaning",
        "alert NoPrices": "changes meaning",
        "panel Lanes": "changes meaning",
    }
    assert found.exit_code == 1


def test_a_dropped_row_blinds_whoever_needs_it_through_recorded_names_too(watched: Sources) -> None:
    found = plan(watched, config(watched, (ROW, "")), cost=False)
    [change] = [change for change in found.changes if change.area == "metrics"]
    assert (change.severity, change.subject) == ("gone", "webhook_requests_total")
    assert change.text.startswith("is gone (counter by endpoint, lane, status, 72 series, ")
    assert fates(found) == {
        "recording rule job_lane:webhook_requests:rate5m": "goes blind",
        "alert NoPrices": "goes blind",
        "panel Lanes": "goes blind",
        "summary field requests.total": "goes blind",
    }


def test_a_renamed_metric_is_known_by_what_it_counts(watched: Sources) -> None:
    found = plan(watched, config(watched, ("new_name: mem0_writes_total", "new_name: memory_writes_total")), cost=False)
    assert texts(found, "metrics") == ["mem0_writes_total: is renamed to memory_writes_total"]
    assert texts(found, "contract") == [
        "memory_writes_total: is not documented",
        "mem0_writes_total: is documented and does not come out",
    ]


def test_a_moved_edge_takes_the_target_away_and_blinds_who_asks_for_it(watched: Sources) -> None:
    found = plan(watched, config(watched, ("300ms, 500ms, 1s", "300ms, 600ms, 1s")), cost=False)
    assert texts(found, "configuration") == ["connectors.span_metrics.histogram.explicit.buckets.500ms: 500ms → 600ms"]
    assert len(texts(found, "metrics")) == 8
    assert "webhook_request_duration_seconds: buckets: -0.5 +0.6" in texts(found, "metrics")
    text = "its target 0.5 s is no edge any more: nothing can tell what lies above it"
    assert f"webhook_request_duration_seconds: {text}" in texts(found, "contract")
    assert fates(found) == {
        "alert TooManyWithinHalfASecond": "goes blind",
        "alert SlowWebhooks": "changes meaning",
    }


def test_a_lost_exporter_loses_the_traces_and_where_exemplars_lead(watched: Sources) -> None:
    edited = config(watched, ("exporters: [otlp_grpc, span_metrics]", "exporters: [span_metrics]"))
    found = plan(watched, edited, cost=False)
    spans = len(Workload((load(watched),)).span_ids)
    assert texts(found, "traces") == [
        f"otlp_grpc: {spans} of {spans} spans are not sent any more",
        "exemplars: all lead to a trace that no store has",
    ]
    assert found.exit_code == 2


def test_sampling_before_the_derivation_is_told_by_how_much_counts_are_wrong(watched: Sources) -> None:
    line = "processors: [memory_limiter, filter/services, transform/spans, batch]"
    edited = config(
        watched,
        (line, line.replace("transform/spans", "probabilistic_sampler, transform/spans")),
        ("  batch:\n", "  probabilistic_sampler: {sampling_percentage: 25, hash_seed: 1}\n  batch:\n"),
    )
    found = plan(watched, edited, cost=False)
    assert found.exit_code == 1
    counted = [change.text for change in found.changes if change.area == "metrics" and "counts" in change.text]
    assert len(counted) == 19
    assert {"changes meaning", "goes blind"} >= set(fates(found).values())
    assert {"alert Duplicates", "alert SlowWebhooks", "panel Lanes", "summary field requests.total"} <= set(
        fates(found)
    )


def test_renamed_metrics_of_the_collectors_own_blind_the_alerts_on_the_pipeline(watched: Sources) -> None:
    found = plan(watched, config(watched, ("without_type_suffix: true", "without_type_suffix: false")), cost=False)
    assert "otelcol_receiver_accepted_spans: is gone" in texts(found, "metrics")
    assert "otelcol_receiver_accepted_spans_total: is new" in texts(found, "metrics")
    assert fates(found) == {"alert NoSpans": "goes blind"}
    assert found.exit_code == 2


def test_a_removed_redaction_is_told_with_the_place_and_the_way_out(watched: Sources) -> None:
    dropped = "          - set(span.attributes, span.cache)\n"
    edited = config(
        watched,
        ('          - set(span.status.message, "")\n', ""),
        (dropped, '          - set(span.cache["db.query.text"], span.attributes["db.query.text"])\n' + dropped),
    )
    found = plan(watched, edited, cost=False)
    assert [change for change in found.changes if change.severity == "leak"] == [
        Change("contract", "leak", "traces to otlp_grpc", f"PATIENT DATA LEAVE: what stood in {place}")
        for place in ("span attribute db.query.text", "the status message")
    ]
    [attribute, emptied] = texts(found, "traces")
    assert attribute == "otlp_grpc: attribute db.query.text leaves now"
    assert emptied.startswith("otlp_grpc: what has to be empty differs in 1 spans, such as none → canary")
    assert found.exit_code == 1


def test_an_edit_that_the_contract_knows_of_only_changes(watched: Sources) -> None:
    edited = contract(
        config(watched, ("label_set: [operation]}]", "label_set: [operation, status]}]")),
        (
            "    labels:\n      operation: &operation",
            "    labels:\n      status: [success, error]\n      operation: &operation",
        ),
    )
    found = plan(watched, edited, cost=False)
    assert texts(found, "metrics") == [
        "database_query_duration_seconds: label status is new: error, other, success; 13 → 39 series"
    ]
    assert texts(found, "contract") == []
    assert found.exit_code == 2


def test_a_dearer_edit_is_told_as_a_ratio(watched: Sources) -> None:
    heavy = '          - set(span.name, "other") where IsMatch(span.name, "^(?:[a-z]?){40}[0-9]$$")\n' * 20
    place = "          - set(span.flags, 0)\n"
    found = plan(watched, config(watched, (place, heavy + place)))
    [change] = [change for change in found.changes if change.area == "cost"]
    assert change.text == f"{found.cost:.1f} times the base's"


def test_what_cannot_run_is_told_with_the_collectors_own_words(
    watched: Sources, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = config(watched, ('set(span.trace_state, "")', 'sett(span.trace_state, "")'))
    monkeypatch.setattr(Sources, "of_disk", lambda: broken)
    monkeypatch.setattr(Sources, "of_commit", lambda _: watched)
    assert run(["plan", "--no-cost"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "cannot plan" in said.err
    assert 'undefined function "sett"' in said.err


def test_a_base_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "no-such-commit", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["exit_code"] == 1
    assert answer["error"].startswith("no-such-commit: no version to compare with: fatal: ")


def test_machines_are_told_the_same_as_people(
    watched: Sources, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    edited = config(watched, (ROW, ""))
    monkeypatch.setattr(Sources, "of_disk", lambda: edited)
    monkeypatch.setattr(Sources, "of_commit", lambda _: watched)
    assert run(["plan", "--no-cost", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["exit_code"] == 1
    assert "webhook_requests_total" in {change["subject"] for change in answer["changes"]}
    assert {"who": "alert NoPrices", "what": "goes blind"}.items() <= next(
        effect for effect in answer["effects"] if effect["who"] == "alert NoPrices"
    ).items()
    assert run(["plan", "--no-cost"]) == 1
    shown = capsys.readouterr().out
    for words in ("- webhook_requests_total", "Who goes blind", "alert NoPrices", "Do not ship this"):
        assert words in shown


def texts(found: Plan, area: str) -> list[str]:
    """What is said of one area, leaks left out."""
    return [
        f"{change.subject}: {change.text}"
        for change in found.changes
        if change.area == area and change.severity != "leak"
    ]


def fates(found: Plan) -> dict[str, str]:
    """What becomes of whom."""
    effects: list[Effect] = found.effects
    return {effect.who: effect.what for effect in effects}
