"""The shipped files, and with them a few rules and panels as people write them."""

from collections.abc import Callable

import pytest

from tools.base.files import Sources
from tools.model.collector_yaml import PATH as CONFIG
from tools.model.contract import PATH as CONTRACT

RULES = """\
groups:
  - name: example
    rules:
      - record: job_lane:webhook_requests:rate5m
        expr: sum by (job, lane) (rate(webhook_requests_total{status!="rejected"}[5m]))
      - alert: NoPrices
        expr: sum by (job) (job_lane:webhook_requests:rate5m{lane="price"}) == 0
      - alert: SlowWebhooks
        expr: histogram_quantile(0.95, sum by (job, le) (rate(webhook_request_duration_seconds_bucket[5m]))) > 5
      - alert: TooManyWithinHalfASecond
        expr: rate(webhook_request_duration_seconds_bucket{le="0.5",status="success"}[5m]) > 100
      - alert: Duplicates
        expr: rate(duplicate_messages_total[5m]) > 0.5
      - alert: NoSpans
        expr: rate(otelcol_receiver_accepted_spans{receiver="otlp"}[5m]) == 0
"""
DASHBOARD = """\
{
  "title": "Example",
  "templating": {"list": [
    {"name": "datasource", "type": "datasource", "query": "prometheus"},
    {"name": "lane", "query": {"query": "label_values(lane_classification_total{job=\\"$job\\"}, lane)"}}
  ]},
  "annotations": {"list": [{"name": "errors", "expr": "errors_total{component=\\"cache\\"} > 0"}]},
  "panels": [
    {"title": "Row", "type": "row", "panels": [
      {"title": "Lanes", "targets": [
        {"expr": "sum by (lane) (rate(webhook_requests_total{lane=~\\"$lane\\"}[$__rate_interval]))"}
      ]}
    ]},
    {"title": "Text", "type": "text"}
  ]
}
"""
RULES_FILE, DASHBOARD_FILE = "prometheus/rules/example.yaml", "grafana/dashboards/example.json"

Edit = Callable[..., Sources]


@pytest.fixture(scope="session")
def shipped() -> Sources:
    """The working tree."""
    return Sources.of_disk()


@pytest.fixture(scope="session")
def watched(shipped: Sources) -> Sources:
    """The working tree with the example's rules and panels, and no others."""
    others = [
        path
        for path in shipped.paths
        if path.startswith(("prometheus/", "grafana/", "docs/runbooks/")) or path == "docs/alerts.md"
    ]
    bare = Sources(
        shipped.name, tuple(path for path in shipped.paths if path not in others), shipped.read, dict(shipped.edits)
    )
    return bare.edited(RULES_FILE, RULES).edited(DASHBOARD_FILE, DASHBOARD)


def edit(sources: Sources, path: str, *replacements: tuple[str, str]) -> Sources:
    """The same with texts replaced, each of which has to stand in the file exactly once."""
    text = sources.text(path)
    for before, after in replacements:
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return sources.edited(path, text)


def config(sources: Sources, *replacements: tuple[str, str]) -> Sources:
    """An edit of the Collector's YAML."""
    return edit(sources, CONFIG, *replacements)


def contract(sources: Sources, *replacements: tuple[str, str]) -> Sources:
    """An edit of the contract."""
    return edit(sources, CONTRACT, *replacements)
