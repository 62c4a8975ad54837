"""`make check` names file, line and reason of what no longer fits together, and starts nothing for it."""

import json
import subprocess
import sys

import pytest

from tests.plan.conftest import DASHBOARD_FILE, RULES_FILE, config, contract, edit
from tools.base.files import ROOT, Finding, Sources
from tools.check.checks import PROGRAMS, STATIC, check
from tools.model.collector_yaml import PATH as CONFIG
from tools.model.contract import PATH as CONTRACT
from tools.model.scrape import PATH as PROMETHEUS

README = "otel-collector/README.md"
PAGE = "docs/metrics.md"
DROPPED = "          - set(span.attributes, span.cache)\n"


CLINIC = (sys.executable, "-m", "tools.cli")


def test_the_shipped_files_agree(shipped: Sources) -> None:
    assert check(shipped) == []


def test_the_examples_of_rules_and_panels_agree_with_the_contract(watched: Sources) -> None:
    page = [Finding(PAGE, 0, f"is not what {CONTRACT} says: `make docs` writes it")]
    assert check(watched) == page  # the page names who uses a metric


WRONG_YAML = {  # an edit of the Collector's YAML, and what is said of it
    "a value is missing in a closed set": (
        ('ContainsValue(["bundle", "catalog", "other"]', 'ContainsValue(["bundle", "other"]'),
        "closed set of cache_type: catalog is missing, the contract has it",
    ),
    "a value more is in a closed set": (
        ('ContainsValue(["bundle", "catalog", "other"]', 'ContainsValue(["bundle", "catalog", "patient", "other"]'),
        "closed set of cache_type: patient is not in otel-collector/metrics.yaml",
    ),
    "an attribute more may leave": (
        (DROPPED, '          - set(span.cache["db.query.text"], span.attributes["db.query.text"])\n' + DROPPED),
        'set(span.cache["db.query.text"], span.attributes["db.query.text"]): is not in otel-collector/metrics.yaml, '
        "or stands twice",
    ),
    "all attributes may leave": (
        (DROPPED, '          - merge_maps(span.cache, span.attributes, "insert")\n' + DROPPED),
        'merge_maps(span.cache, span.attributes, "insert"): is not in otel-collector/metrics.yaml, or stands twice',
    ),
    "what was not copied is not dropped": (
        (DROPPED, ""),
        "needs exactly one, without conditions: set(span.attributes, span.cache)",
    ),
    "a guard is gone": (
        ('where span.attributes["cache_type"] != nil\n            and ContainsValue', "where ContainsValue"),
        'has to be: set(span.cache["cache_type"], span.attributes["cache_type"]) where span.attributes["cache_type"] '
        '!= nil and ContainsValue(["bundle", "catalog", "other"], span.attributes["cache_type"])',
    ),
    "a shape is missing": (
        ('and IsMatch(span.attributes["message_id"], "^[0-9A-Fa-f-]{8,64}$$")', ""),
        'has to be: set(span.cache["message_id"], span.attributes["message_id"]) where '
        'IsString(span.attributes["message_id"]) and IsMatch(span.attributes["message_id"], "^[0-9A-Fa-f-]{8,64}$$") '
        'and not IsMatch(span.attributes["message_id"], "([0-9]-*){8}")',
    ),
    "a copy is missing": (
        (
            'set(span.cache["cache_type"], span.attributes["cache_type"]) where span.attributes["cache_type"] != nil\n'
            '            and ContainsValue(["bundle", "catalog", "other"], span.attributes["cache_type"])',
            "set(span.flags, 0)",
        ),
        'is missing before set(span.attributes, span.cache): set(span.cache["cache_type"], '
        'span.attributes["cache_type"]) where span.attributes["cache_type"] != nil and '
        'ContainsValue(["bundle", "catalog", "other"], span.attributes["cache_type"])',
    ),
    "a wrong value takes away what decides": (
        (
            'set(span.cache["component"], "other") where span.attributes["component"] != nil '
            'and span.cache["component"] == nil',
            "set(span.flags, 0)",
        ),
        'is missing before set(span.attributes, span.cache): set(span.cache["component"], "other") where',
    ),
    "a label is renamed in a row": (
        ("label_set: [query_type]", "label_set: [query]"),
        "hydration_queries_total: label_set is ['query'], the contract has ['query_type']",
    ),
    "a row that never matches": (
        ("{family: idempotency.check, result: duplicate}", "{family: idempotency.check, result: duplicated}"),
        "duplicate_messages_total: result: duplicated selects nothing, not ['duplicate']",
    ),
    "a row of the wrong aggregate": (
        (
            "include: span.duration\n        experimental_match_labels: {family: context.hydrate}",
            "include: span.calls\n        experimental_match_labels: {family: context.hydrate}",
        ),
        "context_hydration_duration_seconds: include is span.calls, a histogram needs span.duration",
    ),
    "a metric that nobody documented": (
        ("new_name: duplicate_messages_total", "new_name: duplicates_total"),
        "duplicates_total is not in otel-collector/metrics.yaml: undocumented metrics do not leave",
    ),
    "a dimension is gone": (
        ("      - {name: query_type, default: other}\n", ""),
        "no dimension query_type: rows that match or keep it come out empty or without it",
    ),
    "a dimension without a default": (
        ("{name: query_type, default: other}", "{name: query_type}"),
        "dimension query_type has to have default: other",
    ),
    "every span an error": (
        ("{name: component}", "{name: component, default: other}"),
        "dimension component may have no default",
    ),
    "a family that nothing counts": (
        ('"reply.send", "delivery.keep"], span.name)', '"reply.send", "delivery.keep", "llm.chat"], span.name)'),
        "family llm.chat feeds no metric of the contract",
    ),
    "a help text of its own": (
        ('"Duration of a cache operation."', '"Duration of a cache operation"'),
        'HELP of cache_operation_duration_seconds has to be "cache_operation_duration_seconds": '
        '"Duration of a cache operation."',
    ),
    "a help text that is not shown": (
        ("where metric.cache[metric.name] != nil", 'where metric.name == "errors_total"'),
        "needs the table `set(metric.cache, {…})`, then set(metric.description, metric.cache[metric.name])",
    ),
    "a variable without a default": (
        ("${env:DERIVE_INTERVAL:-5s}", "${env:DERIVE_INTERVAL}"),
        "DERIVE_INTERVAL has no default: unset it would be empty, 0 or a panic; write ${env:DERIVE_INTERVAL:-…}",
    ),
    "a variable that is not documented": (
        ("aggregation_cardinality_limit: 2000", "aggregation_cardinality_limit: ${env:SERIES_LIMIT:-2000}"),
        "SERIES_LIMIT is not in the table of variables in otel-collector/README.md",
    ),
    "a protection is left out": (
        (
            "processors: [memory_limiter, filter/services, transform/spans, batch]",
            "processors: [memory_limiter, filter/services, batch]",
        ),
        "traces: transform/spans is missing",
    ),
    "batch is not the last": (
        (
            "processors: [memory_limiter, filter/services, transform/spans, batch]",
            "processors: [memory_limiter, filter/services, batch, transform/spans]",
        ),
        "traces: the order has to be memory_limiter, filter/services, transform/spans, batch",
    ),
    "an extension that does not run": (
        ("extensions: [health_check, file_storage]", "extensions: [health_check]"),
        "file_storage is not in service.extensions, so it does not run",
    ),
    "errors are ignored": (
        ("  transform/spans:\n    error_mode: propagate", "  transform/spans:\n    error_mode: ignore"),
        "transform/spans: error_mode has to be propagate, else what a statement could not protect leaves unprotected",
    ),
    "links are cleared in the way that ends the process": (
        ("set(span.links, nil) ", "clear(span.links)    "),
        "clear(span.links) ends the process, set(span.links, nil) does not",
    ),
    "a component that does not exist": (
        ("  memory_limiter:\n", "  memory_limit:\n"),
        "memory_limit is in no pipeline",
    ),
    "nothing is pushed": (
        ("exporters: [otlp_http/prometheus, prometheus]", "exporters: [prometheus]"),
        "metrics/otlp pushes nothing: scraped from several Collectors, a series would have several writers",
    ),
    "no YAML": (("[otlp_http/prometheus, prometheus]", "[otlp_http/prometheus, prometheus"), "no YAML: "),
}


@pytest.mark.parametrize("what", WRONG_YAML)
def test_a_mistake_in_the_collectors_yaml_is_named_with_its_line(shipped: Sources, what: str) -> None:
    (before, after), text = WRONG_YAML[what]
    if shipped.text(CONFIG).count(before) > 1:  # the first of several
        edited = shipped.edited(CONFIG, shipped.text(CONFIG).replace(before, after, 1))
    else:
        edited = config(shipped, (before, after))
    found = [finding for finding in check(edited, programs=False) if finding.text.startswith(text)]
    assert len(found) == 1, check(edited, programs=False)
    assert found[0].file == CONFIG
    assert found[0].line > 0


def test_prometheus_drops_what_is_pushed_and_nothing_else_of_what_it_scrapes(shipped: Sources) -> None:
    both = "mem0_write_queue_size|telemetry_spans_lost_total"
    for dropped in ("mem0_write_queue_size", f"{both}|errors_total"):
        edited = edit(shipped, PROMETHEUS, (both, dropped))
        [found] = check(edited, programs=False)
        said = f"otel-collector-derived has to drop {both}, which are pushed; it drops "
        assert (found.file, found.text) == (PROMETHEUS, said + "|".join(sorted(dropped.split("|"))))


def test_the_named_line_is_that_of_the_mistake(shipped: Sources) -> None:
    edited = config(shipped, ("label_set: [query_type]", "label_set: [query]"))
    [finding] = check(edited, programs=False)
    assert "label_set: [query]" in edited.text(CONFIG).splitlines()[finding.line - 1]


def test_the_collector_itself_is_asked(shipped: Sources) -> None:
    edited = config(shipped, ('set(span.trace_state, "")', 'sett(span.trace_state, "")'))
    [finding] = check(edited)
    assert finding.file == CONFIG
    assert finding.text.startswith("otelcol validate: ")
    assert 'undefined function "sett"' in finding.text


def test_prometheus_itself_is_asked(watched: Sources) -> None:
    edited = edit(watched, RULES_FILE, ("  - alert: Duplicates\n", "  - alert: Duplicates\n        for: soon\n"))
    assert any(finding.file == RULES_FILE and "soon" in finding.text for finding in check(edited))


WRONG_QUESTIONS = {  # an edit of the rules' or the dashboard's text, and what is said of it
    "a metric that does not exist": (
        (RULES_FILE, "duplicate_messages_total", "duplicates_total"),
        "alert Duplicates: duplicates_total is not in otel-collector/metrics.yaml",
    ),
    "a label that the metric has not": (
        (RULES_FILE, 'le="0.5",status="success"', 'le="0.5",state="success"'),
        "alert TooManyWithinHalfASecond: webhook_request_duration_seconds_bucket has no label state",
    ),
    "a value outside of the closed set": (
        (RULES_FILE, 'le="0.5",status="success"', 'le="0.5",status="ok"'),
        'alert TooManyWithinHalfASecond: status="ok" selects nothing of webhook_request_duration_seconds_bucket',
    ),
    "an alternative outside of the closed set": (
        (RULES_FILE, 'le="0.5",status="success"', 'le="0.5",status=~"success|ok"'),
        'alert TooManyWithinHalfASecond: status=~"success|ok": ok is no value of status',
    ),
    "an edge that is none": (
        (RULES_FILE, 'le="0.5"', 'le="0.6"'),
        'alert TooManyWithinHalfASecond: le="0.6" selects nothing of webhook_request_duration_seconds_bucket',
    ),
    "a grouping by a label that nothing has": (
        (RULES_FILE, "sum by (job, lane) (", "sum by (job, lanes) ("),
        "recording rule job_lane:webhook_requests:rate5m: nothing that it selects has the label lanes",
    ),
    "a panel of a label that does not exist": (
        (
            DASHBOARD_FILE,
            "by (lane) (rate(webhook_requests_total{lane=",
            "by (lane) (rate(webhook_requests_total{lanes=",
        ),
        "panel Lanes: webhook_requests_total has no label lanes",
    ),
    "an annotation outside of the closed set": (
        (DASHBOARD_FILE, 'component=\\"cache\\"', 'component=\\"caches\\"'),
        'annotation errors: component="caches" selects nothing of errors_total',
    ),
    "a variable of a metric that does not exist": (
        (DASHBOARD_FILE, "lane_classification_total", "lanes_total"),
        "variable lane: lanes_total is not in otel-collector/metrics.yaml",
    ),
    "no PromQL": ((RULES_FILE, "> 100", "> > 100"), "TooManyWithinHalfASecond: no PromQL: "),
    "no JSON": ((DASHBOARD_FILE, '"title": "Example",', '"title": "Example"'), "no JSON: "),
}


@pytest.mark.parametrize("what", WRONG_QUESTIONS)
def test_a_rule_or_panel_that_asks_for_what_is_not_there_is_named(watched: Sources, what: str) -> None:
    (path, before, after), text = WRONG_QUESTIONS[what]
    findings = [
        finding for finding in check(edit(watched, path, (before, after)), programs=False) if finding.file != PAGE
    ]
    assert [finding.file for finding in findings] == [path]
    assert findings[0].text.startswith(text)
    assert findings[0].line > 0


def test_a_variable_that_nothing_uses_is_not_documented(shipped: Sources) -> None:
    row = "| `OLD_ENDPOINT` | `0.0.0.0:1` | was used once |\n| `QUEUE_DIRECTORY`"
    [finding] = check(edit(shipped, README, ("| `QUEUE_DIRECTORY`", row)), programs=False)
    assert finding.text == f"OLD_ENDPOINT is in the table of variables, but {CONFIG} does not use it"
    assert (
        "OLD_ENDPOINT"
        in edit(shipped, README, ("| `QUEUE_DIRECTORY`", row)).text(README).splitlines()[finding.line - 1]
    )


def test_a_default_that_is_documented_otherwise_is_named(shipped: Sources) -> None:
    [finding] = check(config(shipped, ("MEMORY_LIMIT_MIB:-400", "MEMORY_LIMIT_MIB:-500")), programs=False)
    assert finding.text == "MEMORY_LIMIT_MIB: the default 500 is not the one in otel-collector/README.md"


def test_a_page_that_is_not_what_the_contract_says_is_named(shipped: Sources) -> None:
    [finding] = check(contract(shipped, ("alert_thresholds: [100]", "alert_thresholds: [200]")), programs=False)
    assert str(finding) == f"{PAGE}: is not what {CONTRACT} says: `make docs` writes it"


def test_the_command_tells_machines_the_same() -> None:
    run = subprocess.run([*CLINIC, "check", "--json"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == []
    shown = subprocess.run([*CLINIC, "check"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.startswith(f"✓ all agree, {len(STATIC) + len(PROGRAMS)} checks in ")


def test_a_dashboard_that_breaks_a_promise_is_named_and_one_of_ones_own_has_made_none(shipped: Sources) -> None:
    path = "grafana/dashboards/otel-collector.json"
    edited = edit(shipped, path, ('"schemaVersion": 42', '"schemaVersion": 41'))
    [finding] = check(edited, programs=False)
    assert str(finding) == f"{path}: is_classic_in_normal_form: another schema than the Classic one"
    mine = edit(edited, path, ('"uid": "otel-collector"', '"uid": "mine"'))
    assert [one for one in check(mine, programs=False) if one.file == path] == []
