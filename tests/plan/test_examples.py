"""Every edit in docs/editing-the-collector.md can be made as it stands there, and its plan is what stands there."""

import pytest

from tools.base.files import ROOT, Sources
from tools.check.checks import check
from tools.write.plans import PAGE, Example, answer, edited, examples

EXAMPLES = examples((ROOT / PAGE).read_text("utf-8"))
GOOD, BAD = EXAMPLES[:6], EXAMPLES[6:]


def test_the_page_shows_the_edits_that_people_make_and_those_that_go_wrong() -> None:
    assert [example.title for example in EXAMPLES] == [
        "Add a metric",
        "Add a label",
        "Change buckets",
        "Switch the trace store",
        "Add a second exporter",
        "Add sampling",
        "A renamed label",
        "A dropped row",
        "A moved edge",
        "A lost exporter",
        "Sampling before the derivation",
        "A removed redaction",
    ]


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.title for example in EXAMPLES])
def test_the_plan_on_the_page_is_what_the_plan_says(shipped: Sources, example: Example) -> None:
    assert answer(shipped, example) == example.plan


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.title for example in EXAMPLES])
def test_the_check_takes_the_good_edits_and_refuses_the_others(shipped: Sources, example: Example) -> None:
    found = check(edited(shipped, example.diff), programs=False)  # whether the Collector takes them, the plan says
    assert any(finding.file != "docs/metrics.md" for finding in found) == (example in BAD)
