"""Whatever is in whichever field of OTLP: nothing of it leaves the Collector, and each statement is needed for that."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.collector.bench import Bench
from tests.leaks import otlp_canaries
from tests.leaks.canaries import CANARIES, NAME, Canary, hits
from tests.leaks.conftest import Account
from tests.leaks.reading_outputs import HTTP, answered, exposition, files
from tools.base.otlp import Spec, send, traces
from tools.base.otlp_sink import Sink
from tools.base.wait import until
from tools.replay.collector import Collector

RESOURCE = "resource_spans.resource"
SPAN = "resource_spans.scope_spans.spans"
ENTITIES = {f"{RESOURCE}.entity_refs.{name}" for name in ("schema_url", "type", "id_keys", "description_keys")}
"""The known rest: no statement reaches them."""


def stored(requests: Sequence[ExportTraceServiceRequest]) -> ExportTraceServiceRequest:
    """What reached the store, as one."""
    whole = ExportTraceServiceRequest()
    for request in requests:
        whole.MergeFrom(request)
    return whole


def without_entities(export: ExportTraceServiceRequest) -> ExportTraceServiceRequest:
    """What reached the store without the known rest."""
    for resource in export.resource_spans:
        resource.resource.ClearField("entity_refs")
    return export


def shown(bench: Bench) -> dict[str, bytes]:
    """All that leaves the Collector but for the store: to Prometheus, to its log."""
    return {
        **exposition(f"http://{bench.collector.derived}/metrics"),
        **exposition(f"http://{bench.collector.own}/metrics"),
        "health": answered(HTTP.get(f"http://{bench.collector.health}/")),
        "log of the Collector": bench.collector.log().encode(),
    }


def test_every_field_of_otlp_is_planted_but_ids_times_measured_values_and_truths() -> None:
    for kind in (ExportTraceServiceRequest, ExportMetricsServiceRequest, ExportLogsServiceRequest):
        export = otlp_canaries.planted(kind, NAME)
        fields = otlp_canaries.fields_of(kind.DESCRIPTOR)
        holding = {field.full_name for field in fields if not otlp_canaries.kept(field)}
        assert {field.full_name for field in otlp_canaries.filled(export)} >= holding
        found = {hit.output for hit in hits([NAME], otlp_canaries.leaves(export))}
        silent = {path for path in otlp_canaries.leaves(export) if path not in found}
        mute = {*otlp_canaries.IDS, *otlp_canaries.TIMES, *otlp_canaries.VALUES, "bool_value", "is_monotonic"}
        assert {path.rpartition(".")[2] for path in silent} <= mute


def everything(canary: Canary) -> Iterator[Any]:
    """Exports that together have a canary in every field, in each kind of value, as deep as it gets."""
    for turn in otlp_canaries.turns(canary):
        yield otlp_canaries.traces(canary, turn)
        yield otlp_canaries.metrics(canary, turn)
    yield otlp_canaries.plain_metrics(canary)
    yield otlp_canaries.old(otlp_canaries.traces(canary, 0))
    yield otlp_canaries.old(otlp_canaries.metrics(canary, 0))
    yield otlp_canaries.traces(canary, 0, {"service.name": canary.text})
    yield otlp_canaries.metrics(canary, 0, {"service.name": canary.text})


def deliver(collector: Collector, number: int, canary: Canary, export: Any) -> bytes:
    """Send over gRPC or HTTP, now and then as JSON, with the canary around it; the answer."""
    if number % 2:
        send(collector.grpc, export)
        return b""
    path = "metrics" if isinstance(export, ExportMetricsServiceRequest) else "traces"
    as_json = number % 5 == 0
    kind = "application/json" if as_json else "application/x-protobuf"
    answer = HTTP.post(
        f"http://{collector.http}/v1/{path}",
        params={"patient": canary.text},
        content=otlp_canaries.as_json(export) if as_json else export.SerializeToString(),
        headers={"Content-Type": kind, "X-Patient": quote(canary.text)},
    )
    return answered(answer.raise_for_status())


def test_of_canaries_in_every_field_only_the_known_rest_leaves_the_collector(bench: Bench, account: Account) -> None:
    inputs = [(canary, export) for canary in CANARIES for export in everything(canary)]
    answers = [deliver(bench.collector, number, *one) for number, one in enumerate(inputs)]
    arrives(bench)
    whole = stored(bench.store.requests)
    assert {hit.output for hit in hits(CANARIES, otlp_canaries.leaves(whole))} == ENTITIES
    outputs = {
        **shown(bench),
        **otlp_canaries.leaves(without_entities(whole)),
        "OTLP to the store": whole.SerializeToString(),
        "answers": b"\n".join(answers),
    }
    assert hits(CANARIES, outputs) == []
    account.add("Collector, every field of OTLP", CANARIES, inputs=len(inputs), outputs=outputs)


SHAPED = {  # known rests: a spelling, and where it has the shape of what is allowed
    "quiteriazwolfkirch": {
        f"{SPAN}.name",
        f"{SPAN}.events.name",
        f"{SPAN}.events.attributes[exception.type].string_value",
        "resource_spans.scope_spans.scope.name",
    },
}


def test_the_spellings_that_have_an_allowed_shape_are_these(bench: Bench) -> None:
    words = [replace(NAME, text="quiteriazwolfkirch"), *CANARIES]
    canaries = [replace(one, text=spelling) for one in words for spelling in (one.text, *one.spellings)]
    before = len(bench.store.requests)
    for canary in canaries:
        send(bench.collector.grpc, otlp_canaries.traces(canary, 0))
    arrives(bench)
    leaves = otlp_canaries.leaves(without_entities(stored(bench.store.requests[before:])))
    texts = [canary.text for canary in canaries]
    found = {text: {path for path, content in leaves.items() if text.encode() in content} for text in texts}
    assert {text: places for text, places in found.items() if places} == SHAPED


def arrives(bench: Bench) -> None:
    """Wait until what was sent so far is stored and counted."""
    spec = Spec("process_message")
    send(bench.collector.grpc, traces([spec]))
    bench.settle()
    bench.stored(spec.trace_id)


def test_what_the_store_does_not_take_is_clean_on_the_disk_too(tmp_path: Path, account: Account) -> None:
    with Sink().listening() as store, (collector := Collector(tmp_path, store.endpoint)).running():
        store.answer("refuse")
        sent = [without_entities(otlp_canaries.traces(canary, turn)) for canary in CANARIES for turn in (0, 5)]
        for export in sent:
            send(collector.grpc, export)
        until(lambda: b"lane.classify" in b"".join(files(tmp_path / "queue").values()), "the queue is on the disk")
        outputs = {**files(tmp_path / "queue"), "log": collector.log().encode()}
        store.answer("take")
    assert hits(CANARIES, outputs) == []
    account.add("Collector, its queue on disk", CANARIES, inputs=len(sent), outputs=outputs)


def test_what_the_collector_refuses_is_not_repeated_in_its_log(bench: Bench, account: Account) -> None:
    answers: list[bytes] = []
    for canary in CANARIES:
        for export in (otlp_canaries.planted(ExportLogsServiceRequest, canary), otlp_canaries.traces(canary, 0)):
            for path in ("/v1/logs", "/v1/traces", f"/v1/{quote(canary.text)}"):
                for kind in ("application/json", "application/x-protobuf", quote(canary.text)):
                    cut = (export.SerializeToString()[:-3], otlp_canaries.as_json(export)[:-3])
                    for body in (canary.text.encode(), *cut):
                        url, headers = f"http://{bench.collector.http}{path}", {"Content-Type": kind}
                        answers.append(answered(HTTP.post(url, content=body, headers=headers)))
            with grpc.insecure_channel(bench.collector.grpc) as channel, pytest.raises(grpc.RpcError):
                channel.unary_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export")(
                    export.SerializeToString()
                )
    assert {answer[:3] for answer in answers} == {b"400", b"404", b"415", b"500"}
    outputs = shown(bench)
    assert hits(CANARIES, outputs) == []
    assert hits(CANARIES, {"answers": b"\n".join(answers)}), "known rest: who sends broken JSON is told what they sent"
    account.add("Collector, what it refuses", CANARIES, inputs=len(answers), outputs=outputs)
