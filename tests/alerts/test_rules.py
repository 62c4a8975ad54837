"""Every alert fires when it should, stays silent when it should, clears, and says what it has to say.

What each does is told by prometheus/tests, which Prometheus' own `promtool` runs; here they are run, and what no rule
test can see is held: thresholds, labels, links.
"""

import os
import re
import subprocess

import pytest
import yaml

from tests.alerts.conftest import ALERTS, DOCUMENTED, RULES, RUNBOOKS, Alert
from tools.base.files import ROOT, Sources
from tools.check.dashboard_promises import RUNBOOKS as SERVED
from tools.check.rule_tests import RuleTests, failures, shipped_tests
from tools.model import contract
from tools.model.consumers import parse
from tools.model.rules import rules_of
from tools.stack.programs import ensure

TESTS = {one.name: one for one in shipped_tests()}
CONTRACT = contract.load(Sources.of_disk())

# The user's page: severity, which side of the threshold is bad, the threshold.
PAGE = {
    "CriticalWebhookLatency": ("critical", ">", 5),
    "CriticalCacheHitRate": ("critical", "<", 0.5),
    "CriticalErrorRate": ("critical", ">", 1),
    "HighWebhookLatency": ("warning", ">", 2),
    "LowCacheHitRate": ("warning", "<", 0.8),
    "HighErrorRate": ("warning", ">", 0.1),
    "HighMem0QueueSize": ("warning", ">", 100),
    "Mem0WriteFailures": ("warning", ">", 0.1),
    "SlowContextHydration": ("warning", ">", 0.2),
    "SlowDatabaseQueries": ("warning", ">", 1),
    "HighDuplicateMessageRate": ("warning", ">", 0.5),
    "LowThroughput": ("info", "<", 0.01),
    "HighThroughput": ("info", ">", 100),
    "LowFastPathCoverage": ("info", "<", 0.5),
    "SlowIdempotencyCheck": ("info", ">", 0.01),
}
SAYS_NO_NUMBER = {  # because there is none, or it would always be the same
    "OtelCollectorDown",
    "ServiceTelemetryAbsent",
    "TargetDown",
    "PrometheusConfigReloadFailed",
    "AlertmanagerConfigReloadFailed",
    "LatencySliBucketMissing",
    "Watchdog",
}


@pytest.fixture(scope="session")
def failing() -> dict[str, str]:
    """What promtool says of the files of tests that fail."""
    return failures(list(TESTS.values()), RULES, os.cpu_count() or 1)


@pytest.mark.parametrize("name", sorted(TESTS))
def test_the_rules_do_what_their_tests_say(name: str, failing: dict[str, str]) -> None:
    assert failing.get(name, "") == ""


def test_a_rule_that_does_something_else_fails_its_tests() -> None:
    """The runner itself: it is not silent when it should speak."""
    rule = ALERTS["HighMem0QueueSize"].rule
    edited = {"groups": [{"name": "edited", "rules": [rule | {"expr": str(rule["expr"]).replace("100", "101")}]}]}
    said = TESTS["HighMem0QueueSize"].failure({**RULES, DOCUMENTED: edited})
    assert "fires just over the threshold" in said


@pytest.mark.parametrize("file", RULES)
def test_prometheus_own_linter_has_nothing_to_say(file: str) -> None:
    path = str(ROOT / "prometheus" / file)
    command = [str(ensure("promtool")), "check", "rules", "--lint=all", "--lint-fatal", path]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_has_tests_that_it_fires_and_that_it_is_silent(name: str) -> None:
    checks = [
        check
        for group in yaml.safe_load(TESTS[name].text)["tests"]
        for check in group.get("alert_rule_test", [])
        if check["alertname"] == name
    ]
    expected = [alert for check in checks for alert in check["exp_alerts"]]
    assert expected
    assert all(set(alert["exp_annotations"]) == set(ALERTS[name].annotations) for alert in expected)
    assert name == "Watchdog" or any(check["exp_alerts"] == [] for check in checks)


def test_every_recorded_rule_has_tests() -> None:
    recorded = [rule for document in RULES.values() for rule in rules_of(document) if "record" in rule]
    assert [rule["record"] for rule in recorded if not any(one.names(rule) for one in TESTS.values())] == []


# Thresholds


def test_the_documented_alerts_are_those_of_the_page_with_its_severities_and_thresholds() -> None:
    shipped = {}
    for alert in ALERTS.values():
        if alert.file == DOCUMENTED:
            comparison = re.findall(r"([<>]) ([\d.]+)", str(alert.rule["expr"]))
            operator, number = comparison[0]
            shipped[alert.name] = (alert.labels["severity"], operator, float(number))
    assert shipped == PAGE


@pytest.mark.parametrize("metric", [metric.name for metric in CONTRACT.metrics if metric.alert_thresholds])
def test_the_contract_has_the_same_thresholds(metric: str) -> None:
    samples = set(CONTRACT.by_name[metric].samples)
    shipped = {
        PAGE[alert.name][2]
        for alert in ALERTS.values()
        if alert.file == DOCUMENTED and parse(str(alert.rule["expr"]))[0].sample in samples  # further ones are guards
    }
    assert shipped == set(CONTRACT.by_name[metric].alert_thresholds)


def test_the_latency_objective_counts_up_to_the_documented_target() -> None:
    target = CONTRACT.by_name["webhook_request_duration_seconds"].target
    assert target
    edges = {
        matcher.value
        for rule in rules_of(RULES["rules/slo.yaml"])
        for use in parse(str(rule["expr"]))
        for matcher in use.matchers
        if matcher.label == "le"
    }
    assert edges == {f"{target.below:g}"}
    objectives = {
        rule["labels"]["slo"]: rule["expr"]
        for rule in rules_of(RULES["rules/slo.yaml"])
        if rule.get("record") == "slo:objective:ratio"
    }
    assert objectives == {"webhook-latency": f"vector({target.quantile})", "webhook-success": "vector(0.995)"}


def test_memory_is_high_at_three_quarters_of_what_the_collector_refuses_at() -> None:
    config = (ROOT / "otel-collector" / "config.yaml").read_text()
    limit = re.search(r"limit_mib: \$\{env:MEMORY_LIMIT_MIB:-(\d+)\}", config)
    assert limit
    assert "spike_limit_mib" not in config  # a fifth of the limit, then
    wanted = int(limit[1]) * 2**20 * 0.8 * 0.75
    assert str(ALERTS["OtelCollectorMemoryHigh"].rule["expr"]).endswith(f"> {wanted:.0f}")


def test_nobody_waits_longer_for_the_critical_alert_than_for_its_warning() -> None:
    pairs = [
        (critical, other)
        for critical in ALERTS.values()
        for other in ALERTS.values()
        if critical.labels["severity"] == "critical"
        and other.labels["severity"] != "critical"
        and critical.labels["signal"] == other.labels["signal"]
    ]
    assert {(critical.name, other.name) for critical, other in pairs} >= {
        ("CriticalWebhookLatency", "HighWebhookLatency"),
        ("CriticalCacheHitRate", "LowCacheHitRate"),
        ("CriticalErrorRate", "HighErrorRate"),
    }
    assert all(critical.minutes < other.minutes for critical, other in pairs)


# What is said


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
def test_an_alert_says_what_is_wrong_how_bad_and_what_it_means_for_patients(alert: Alert) -> None:
    assert set(alert.labels) - {"job"} == {"severity", "signal"}
    assert alert.labels["severity"] in {"critical", "warning", "info", "none"}
    assert set(alert.annotations) == {"summary", "description", "runbook_url", "dashboard_url"}
    description = alert.annotations["description"]
    assert ("{{ $value | " in description) == (alert.name not in SAYS_NO_NUMBER)
    assert alert.name == "Watchdog" or "atient" in description
    assert len(alert.annotations["summary"]) <= 80
    assert len(description) <= 330


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
def test_links_lead_to_its_runbook_and_to_a_panel(alert: Alert) -> None:  # which panel: tests/grafana
    assert alert.annotations["runbook_url"] == f"{SERVED}{alert.name}.md"
    assert alert.runbook.is_file()
    assert re.match(r"/d/(healthcare-backend|otel-collector)\?viewPanel=", alert.annotations["dashboard_url"])


def test_there_is_no_runbook_and_no_test_without_its_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*")} == set(ALERTS)
    assert set(TESTS) - set(ALERTS) == {"Slo", "SloBudget"}


def test_tests_name_their_rule_files_so_that_promtool_finds_them() -> None:
    assert {file for one in TESTS.values() for file in one.files} == set(RULES)
    assert all(isinstance(one, RuleTests) and one.files for one in TESTS.values())
