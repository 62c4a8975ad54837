"""Which series an expression needs is read by a real parser, through recorded names and Grafana's variables too."""

import pytest

from tests.plan.conftest import DASHBOARD_FILE, RULES_FILE
from tools.base.files import Sources
from tools.model.consumers import Matcher, affected, consumers, parse


def test_all_alerts_rules_panels_variables_and_annotations_are_found(watched: Sources) -> None:
    found = {str(consumer): (consumer.file, [use.sample for use in consumer.uses]) for consumer in consumers(watched)}
    buckets = "webhook_request_duration_seconds_bucket"
    assert found == {
        "recording rule job_lane:webhook_requests:rate5m": (RULES_FILE, ["webhook_requests_total"]),
        "alert NoPrices": (RULES_FILE, ["job_lane:webhook_requests:rate5m"]),
        "alert SlowWebhooks": (RULES_FILE, [buckets]),
        "alert TooManyWithinHalfASecond": (RULES_FILE, [buckets]),
        "alert Duplicates": (RULES_FILE, ["duplicate_messages_total"]),
        "alert NoSpans": (RULES_FILE, ["otelcol_receiver_accepted_spans"]),
        "panel Lanes": (DASHBOARD_FILE, ["webhook_requests_total"]),
        "variable lane": (DASHBOARD_FILE, ["lane_classification_total"]),
        "annotation errors": (DASHBOARD_FILE, ["errors_total"]),
    }


def test_a_recorded_name_stands_for_what_it_is_computed_of(watched: Sources) -> None:
    behind = affected(consumers(watched), {"webhook_requests_total"})
    assert behind == {
        "webhook_requests_total": {"webhook_requests_total"},
        "job_lane:webhook_requests:rate5m": {"webhook_requests_total"},
    }


def test_selectors_labels_and_quantiles_are_seen_wherever_they_stand() -> None:
    expression = """
        histogram_quantile(0.95, sum by (le, lane) (rate(a_bucket{job="x",status=~"success|error",le!="1"}[5m])))
          > on (job) group_left (team) max_over_time((-b{})[1h:1m] offset 5m)
          unless count without (lane) ({__name__="c",lane!~"faq|price"})
    """
    a, b, c = parse(expression)
    assert (a.sample, a.quantile, a.grouped) == ("a_bucket", True, frozenset({"le", "lane", "job", "team"}))
    assert a.matchers == (Matcher("job", "=", "x"), Matcher("status", "=~", "success|error"), Matcher("le", "!=", "1"))
    assert (b.sample, b.quantile, b.grouped) == ("b", False, frozenset({"job", "team"}))
    assert (c.sample, c.matchers, c.grouped) == ("c", (Matcher("lane", "!~", "faq|price"),), frozenset())


def test_a_label_that_is_made_of_another_one_asks_for_that_one() -> None:
    a, b = parse('sum by (host) (label_replace(a, "host", "$1", "instance", "(.*):.*")) unless on (host) b')
    assert (a.grouped, b.grouped) == (frozenset({"instance"}), frozenset({"host"}))


@pytest.mark.parametrize(
    ("matcher", "taken", "left"),
    [
        (Matcher("lane", "=", "faq"), "faq", "faqs"),
        (Matcher("lane", "!=", "faq"), "", "faq"),
        (Matcher("lane", "=~", "faq|price"), "price", "prices"),
        (Matcher("lane", "!~", "faq|price"), "complex", "faq"),
        (Matcher("lane", "=", ""), "", "faq"),
    ],
)
def test_a_matcher_takes_what_prometheus_takes(matcher: Matcher, taken: str, left: str) -> None:
    assert matcher.takes(taken)
    assert not matcher.takes(left)
