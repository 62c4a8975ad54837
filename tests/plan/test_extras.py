"""A file for one's own exporters and receivers adds to the Collector's YAML, and cannot take a part of ours away."""

import re
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from tools.base.files import Finding, Sources, collector_extras
from tools.check.checks import check
from tools.model.collector_yaml import CollectorYaml
from tools.plan.compare import plan
from tools.replay.version import Version
from tools.stack.components import otel_collector
from tools.stack.ports import Ports
from tools.stack.programs import ensure

EXTRAS = "otel-collector/extras.yaml"
SECOND = """\
exporters:
  otlp_grpc/second: {endpoint: "traces.example.org:4317"}
service:
  pipelines:
    traces:
      exporters: [otlp_grpc, span_metrics, otlp_grpc/second]
"""
OF_THEIR_OWN = """\
receivers:
  host_metrics: {collection_interval: 1m}
exporters:
  otlp_grpc/mine: {endpoint: "metrics.example.org:4317"}
service:
  pipelines:
    metrics/mine: {receivers: [host_metrics], exporters: [otlp_grpc/mine]}
"""


def found(shipped: Sources, extras: str) -> list[Finding]:
    """What the check says of an extras file, without asking the binaries."""
    return check(shipped.edited(EXTRAS, extras), programs=False)


def test_the_shipped_one_is_empty(shipped: Sources) -> None:
    assert yaml.safe_load(shipped.text(EXTRAS)) is None


def test_its_example_can_be_used_as_it_stands(shipped: Sources) -> None:
    _, example = shipped.text(EXTRAS).split("too:\n#\n")
    uncommented = "".join(line.removeprefix("# ") for line in example.splitlines(keepends=True))
    assert check(shipped.edited(EXTRAS, uncommented)) == []


@pytest.mark.parametrize("extras", [SECOND, OF_THEIR_OWN], ids=["an exporter more", "a receiver of their own"])
def test_what_is_only_added_is_right(shipped: Sources, extras: str) -> None:
    assert found(shipped, extras) == []


PIPELINES = "service: {pipelines: {%s}}"
LISTS = "lists of merged files replace each other, so repeat what config.yaml has"
WRONG = {  # an extras file; the line, and what is said of it
    "a protection is left out": (
        "service:\n  pipelines:\n    traces:\n      processors: [memory_limiter, filter/services, batch]\n",
        4,
        f"service.pipelines.traces.processors lacks transform/spans: {LISTS}",
    ),
    "the derivation is left out": (
        SECOND.replace("span_metrics, ", ""),
        6,
        f"service.pipelines.traces.exporters lacks span_metrics: {LISTS}",
    ),
    "protections in another order": (
        PIPELINES % "traces: {processors: [memory_limiter, transform/spans, filter/services, batch]}",
        1,
        "traces: the order has to be memory_limiter, filter/services, transform/spans, batch",
    ),
    "all processors are emptied": (
        "# mine\nprocessors:\n",
        2,
        "has no `processors`",
    ),
    "a component is emptied": (
        "exporters:\n  prometheus:\n",
        2,
        "exporters.prometheus takes away what config.yaml has there: extras may only add",
    ),
    "statements are replaced": (
        "processors:\n  transform/spans:\n    trace_statements: [{context: span, statements: [set(span.flags, 0)]}]\n",
        3,
        "needs exactly one, without conditions: set(span.attributes, span.cache)",
    ),
    "errors are ignored": (
        "processors:\n  transform/spans:\n    error_mode: ignore\n",
        3,
        "transform/spans: error_mode has to be propagate",
    ),
    "a pipeline past the protections": (
        "exporters: {otlp_grpc/raw: {endpoint: 'a:1'}}\n"
        + PIPELINES % "traces/raw: {receivers: [otlp], exporters: [otlp_grpc/raw]}",
        2,
        "traces/raw: memory_limiter is missing",
    ),
    "a receiver past the protections": (
        "receivers: {otlp/raw: {protocols: {grpc: {endpoint: 'a:1'}}}}\nexporters: {otlp_grpc/raw: {endpoint: 'a:1'}}\n"
        + PIPELINES % "traces/raw: {receivers: [otlp/raw], exporters: [otlp_grpc/raw]}",
        3,
        "traces/raw: memory_limiter is missing",
    ),
    "undocumented metrics": (
        "receivers: {host_metrics: {}}\n"
        + PIPELINES % "metrics/mine: {receivers: [host_metrics], exporters: [prometheus]}",
        2,
        "metrics/mine: memory_limiter is missing",
    ),
    "logs, which nothing protects": (
        "exporters: {otlp_grpc/raw: {endpoint: 'a:1'}}\n"
        + PIPELINES % "logs: {receivers: [otlp], exporters: [otlp_grpc/raw]}",
        2,
        "logs: nothing takes patients' data out of logs, which the service does not send",
    ),
    "an exporter that nothing uses": (
        "exporters:\n  otlp_grpc/second: {endpoint: 'a:1'}\n",
        2,
        "otlp_grpc/second is in no pipeline",
    ),
    "no mapping": ("- exporters\n", 0, "is no Collector configuration: no mapping at the top"),
    "no YAML": ("exporters: [\n", 2, "no YAML: "),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_takes_a_part_of_ours_away_is_named_with_its_line(shipped: Sources, what: str) -> None:
    extras, line, text = WRONG[what]
    findings = found(shipped, extras)
    assert [one.line for one in findings if one.text.startswith(text) and one.file == EXTRAS] == [line], findings


def test_the_collectors_own_words_on_it_name_it(shipped: Sources) -> None:
    edited = shipped.edited(EXTRAS, SECOND.replace("{endpoint:", "{endpoints:"))
    [finding] = check(edited)
    assert (finding.file, finding.line) == (EXTRAS, 2)
    assert finding.text.startswith("otelcol validate: ")


def test_one_that_is_named_and_not_there_is_told(shipped: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTOR_EXTRAS", "otel-collector/mine.yaml")
    [finding] = check(shipped, programs=False)
    assert finding.file == "otel-collector/mine.yaml"
    assert finding.text.startswith("cannot be read: ")


def test_another_file_takes_its_place(shipped: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("exporters:\n  prometheus:\n")
    monkeypatch.setenv("COLLECTOR_EXTRAS", str(mine))
    assert {finding.file for finding in check(shipped, programs=False)} == {str(mine)}
    command = otel_collector(tmp_path, Ports.free(), "jaeger", lambda _: None).command
    assert [word for word in command if word.startswith("--config=")][1:] == [f"--config={mine}"]


def test_the_stack_reads_both_and_ours_first(tmp_path: Path) -> None:
    command = otel_collector(tmp_path, Ports.free(), "jaeger", lambda _: None).command
    files = [word.partition("=")[2] for word in command if word.startswith("--config=")]
    assert [Path(file).name for file in files] == ["config.yaml", Path(collector_extras()).name]


def test_it_is_laid_over_as_the_collector_does_it(shipped: Sources, tmp_path: Path) -> None:
    extras = SECOND + "    metrics: {processors: [filter/raw]}\nprocessors: {batch: {timeout: 1s}}\nextensions:\n"
    merged = CollectorYaml(shipped.edited(EXTRAS, extras))
    config, over = merged.write(tmp_path)
    command = [str(ensure("otelcol")), "print-config", "--validate=false", f"--config={config}", f"--config={over}"]
    environment = {"QUEUE_DIRECTORY": str(tmp_path / "queue")}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    theirs = yaml.safe_load(run.stdout)
    assert {name: part["processors"] for name, part in theirs["service"]["pipelines"].items()} == {
        name: pipeline["processors"] for name, pipeline in merged.pipelines.items()
    }
    assert theirs["service"]["pipelines"]["traces"]["exporters"] == merged.pipelines["traces"]["exporters"]
    assert (theirs["processors"]["batch"]["timeout"], merged.part("processors", "batch", "timeout")) == ("1s", "1s")
    assert (theirs["extensions"], merged.part("extensions")) == ({}, None)


def test_a_plan_shows_what_it_adds(shipped: Sources) -> None:
    result = plan(shipped, shipped.edited(EXTRAS, SECOND), cost=False)
    assert [(change.severity, change.subject) for change in result.changes if change.area == "configuration"] == [
        ("new", "exporters.otlp_grpc/second"),
        ("new", "service.pipelines.traces.exporters.otlp_grpc/second"),
    ]
    assert [change.subject for change in result.changes if change.area == "traces"] == ["otlp_grpc/second"]
    assert {change.area for change in result.changes} == {"configuration", "traces"}
    assert result.exit_code == 2


def test_a_plan_shows_what_it_takes_away(shipped: Sources) -> None:
    extras = "service: {pipelines: {traces: {processors: [memory_limiter, filter/services, batch]}}}"
    result = plan(shipped, shipped.edited(EXTRAS, extras), cost=False)
    assert {change.severity for change in result.changes} >= {"leak"}
    assert result.exit_code == 1


def test_a_plan_reaches_no_real_system(shipped: Sources, tmp_path: Path) -> None:
    """A component that a plan does not know would send the planted data to whatever it names."""
    extras = """\
receivers:
  redis: {endpoint: "redis:6379"}
  zipkin: {protocols: {http: {endpoint: "0.0.0.0:9411"}}}
exporters:
  vendor: {endpoint: "https://vendor.example.org/v1", api: {endpoint: "vendor.example.org:443"}, name: endpoint}
"""
    with ExitStack() as stack:
        changes = Version(shipped.edited(EXTRAS, extras), tmp_path)._changes(stack)
    assert [change for change in changes if re.match(r"receivers|exporters::vendor", change)] == [
        "exporters::vendor::endpoint: https://127.0.0.1:9",
        "exporters::vendor::api::endpoint: 127.0.0.1:9",
        "receivers::redis::endpoint: 127.0.0.1:0",
        "receivers::zipkin::protocols::http::endpoint: 127.0.0.1:0",
    ]
