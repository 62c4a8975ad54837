"""docs/alerts.md and the runbooks' first lines say what the rules say, in one form; nobody writes a number twice."""

import re

import pytest

from tests.alerts.conftest import ALERTS
from tools.base.files import Sources
from tools.check.alerts_page import PAGE, first_line, pages
from tools.check.checks import check
from tools.model.alerts import Alert
from tools.model.contract import PATH, Target

RULES = "prometheus/prometheus-alerts.yaml"
SHIPPED = Sources.of_disk()
QUANTILE = "histogram_quantile(0.99, sum by (le) (rate(a_seconds_bucket[5m])))"

FORMS = {  # an expression, and what is said of it
    f"{QUANTILE} > 0.25 and on () sum(increase(a_seconds_count[5m])) >= 20": (
        "Limit: P99 above 250 ms. Window: 5 min, at least 20 events. For: 5 min."
    ),
    "sum(rate(a_total[90s])) < 0.5": "Limit: below 0.5 a second. Window: 90 s. For: 5 min.",
    "(sum(rate(a_total[1h])) or 0 * b) / sum(rate(b_total[2h])) > 0.055": (
        "Limit: above 5.5%. Window: 1 h and 2 h. For: 5 min."
    ),
    "job:hits:ratio_rate10m < 0.8": "Limit: below 80%. Window: 10 min. For: 5 min.",
    "sum(increase(a_total[1d])) >= 5": "Limit: at least 5. Window: 1 d. For: 5 min.",
    "min_over_time(a_bytes[15m]) > 1048576": "Limit: above 1 MiB. Window: 15 min. For: 5 min.",
    "slo:sli_error:ratio_rate1h > on (slo) group_left () 14.4 * (1 - slo:objective:ratio)": (
        "Limit: above 14.4 × the budget's rate. Window: 1 h. For: 5 min."
    ),
    "max(a) > 100 or max(b) > 200": "Limit: above 100. For: 5 min.",
    "sum(rate(a_total[5m])) > 0 unless on () sum(rate(b_total[5m])) > 0": "Window: 5 min. For: 5 min.",
    "absent(a) and on () count(b)": "For: 5 min.",
    "up == 0": "For: 5 min.",
    "vector(2)": "For: 5 min.",
}


def alert(expression: str, **more: str) -> Alert:
    labels = {"severity": more.pop("severity", "warning")}
    annotations = {"summary": "{{ $labels.job }} is late"}
    return Alert(
        {"alert": "Late", "expr": expression, "for": "5m", "labels": labels, "annotations": annotations}, "", 0
    )


@pytest.mark.parametrize("expression", FORMS)
def test_a_runbooks_first_line_is_what_its_rule_says(expression: str) -> None:
    said = f"Warning. `job` is late. {FORMS[expression]} Cause: `make why ALERT=Late`."
    assert first_line(alert(expression), None) == said


def test_the_target_stands_before_who_names_the_cause_and_what_always_fires_says_so() -> None:
    said = first_line(alert("max(a) > 3", severity="critical"), Target(of="level", below=1))
    assert said == (
        "Critical. `job` is late. Limit: above 3. For: 5 min. Target: below 1. Cause: `make why ALERT=Late`."
    )
    assert first_line(alert("vector(1)", severity="none"), None) == "Always fires."


def test_the_pages_are_what_the_rules_say() -> None:
    found = dict(pages(SHIPPED))
    assert found.keys() == {PAGE, *(f"docs/runbooks/{name}.md" for name in ALERTS)}
    assert [path for path, text in found.items() if SHIPPED.text(path) != text] == []


def test_every_alert_but_the_watchdog_has_its_row_under_its_severity() -> None:
    sections = re.split(r"^## ", SHIPPED.text(PAGE), flags=re.MULTILINE)
    rows = {
        name: section.partition(":")[0].lower()
        for section in sections
        for name in re.findall(r"^\| \[(\w+)\]", section, re.MULTILINE)
    }
    assert rows == {one.name: one.labels["severity"] for one in ALERTS.values() if one.name != "Watchdog"}


EDITS = {  # of the rules or the contract, and what `make check` says beside the pages
    "a threshold": (
        (RULES, 'status=~"success|error|other"}[5m]))) > 5', 'status=~"success|error|other"}[5m]))) > 3'),
        "alert CriticalWebhookLatency says 5 s, the number is 3 s",
        {PAGE, "docs/runbooks/CriticalWebhookLatency.md"},
    ),
    "a target": (
        (PATH, "target: {of: rate, below: 0.01}", "target: {of: rate, below: 0.02}"),
        "alert CriticalErrorRate says 0.01, the number is 0.02",
        {"docs/runbooks/CriticalErrorRate.md", "docs/runbooks/HighErrorRate.md", "docs/metrics.md"},
    ),
    "a target that nobody tells": (
        (RULES, "(alert below 80%, target 95%)", "(alert below 80%)"),
        "alert LowCacheHitRate does not say its target, above 95%",
        set(),
    ),
    "a wait": ((RULES, "> 100\n        for: 5m\n        labels: {severity: warning", "> 100\n        for: 7m\n"
                "        labels: {severity: warning"), "", {PAGE, "docs/runbooks/HighMem0QueueSize.md"}),
}  # fmt: skip


@pytest.mark.parametrize("what", EDITS)
def test_who_edits_a_number_is_told_where_else_it_stands(what: str) -> None:
    (path, before, after), text, told = EDITS[what]
    assert SHIPPED.text(path).count(before) == 1
    findings = check(SHIPPED.edited(path, SHIPPED.text(path).replace(before, after)), programs=False)
    assert {one.file for one in findings if "`make docs` writes it" in one.text} == told
    assert text == "" or text in {one.text for one in findings}
