"""Every edit in docs/editing-the-collector.md can be made as it stands there, and its plan is what stands there."""

import re

import pytest

from tools.base.files import ROOT, Sources
from tools.check.checks import check
from tools.write.plans import PAGE, Example, answer, edited, examples

EXAMPLES = examples((ROOT / PAGE).read_text("utf-8"))
GOOD, BAD = EXAMPLES[:8], EXAMPLES[8:]


def test_the_page_shows_the_edits_that_people_make_and_those_that_go_wrong() -> None:
    assert [example.title for example in EXAMPLES] == [
        "Add a metric",
        "Add a value (a lane)",
        "Add a label",
        "Add a label from a new attribute",
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
    edit = edited(shipped, example.diff)
    findings = [finding for finding in check(edit, programs=False) if finding.file != "docs/metrics.md"]
    assert bool(findings) == (example in BAD)  # whether the Collector takes them, the plan says


def test_a_lane_is_edited_in_four_files_and_written_by_make_docs_in_two_more() -> None:
    [lane] = [example for example in EXAMPLES if example.title == "Add a value (a lane)"]
    assert re.findall(r"^\+\+\+ b/(\S+)", lane.diff, re.MULTILINE) == [
        "otel-collector/metrics.yaml",
        "otel-collector/config.yaml",
        "service/app/conversation/lanes.yaml",
        "simulator/corpus.yaml",
    ]


def test_a_long_part_of_a_plan_stands_in_the_docs_as_its_first_line_and_how_many_more() -> None:
    page = (ROOT / PAGE).read_text("utf-8")
    assert len(page.splitlines()) <= 450
    assert re.search(r"^Who changes meaning\n  alert \w+ .*\n  … \d+ more$", page, re.MULTILINE)
