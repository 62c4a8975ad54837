"""Every edit in docs/editing-alerts.md can be made as it stands there, and its plan is what stands there."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tools.base.files import ROOT, Sources
from tools.check.checks import check
from tools.history.backtest import FILES, Evaluation, run
from tools.history.choice import History
from tools.plan import alerts
from tools.plan.timeline import picture
from tools.stack.programs import Report
from tools.write.plans import ALERTS, PICTURE, Example, answer, edited, examples, pictured

EXAMPLES = examples((ROOT / ALERTS).read_text("utf-8"))
REFUSED_BY_CHECK = {"A renamed label", "An expression that Prometheus refuses"}


@pytest.fixture(scope="module")
def shipped() -> Sources:
    """The working tree."""
    return Sources.of_disk()


@pytest.fixture(scope="module", autouse=True)
def each_version_is_evaluated_once() -> Iterator[None]:
    """All edits are compared with the same version, and the picture's edit is one of them."""
    known: dict[tuple[str, ...], Evaluation] = {}

    def remembering(versions: Sequence[Sources], history: History, report: Report) -> list[Evaluation]:
        keys = [tuple(one.text(path) for path in one.matching(*FILES)) for one in versions]
        new = {key: version for key, version in zip(keys, versions, strict=True) if key not in known}
        known.update(zip(new, run(list(new.values()), history, report) if new else [], strict=True))
        return [known[key] for key in keys]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alerts, "run", remembering)
        yield


def test_the_page_shows_the_edits_that_people_make_and_those_that_go_wrong() -> None:
    assert [example.title for example in EXAMPLES] == [
        "A lower threshold",
        "A shorter wait",
        "A guard taken away",
        "An inhibition taken away",
        "A lost continue",
        "A receiver that is not there",
        "A renamed label",
        "An expression that Prometheus refuses",
    ]


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.title for example in EXAMPLES])
def test_the_plan_on_the_page_is_what_the_plan_says(
    shipped: Sources, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY", raising=False)
    assert answer(shipped, example) == example.plan


def test_the_picture_on_the_page_is_what_the_plan_draws(shipped: Sources, tmp_path: Path) -> None:
    picture(pictured(shipped), tmp_path / "drawn.svg")
    assert (tmp_path / "drawn.svg").read_text("utf-8") == (ROOT / PICTURE).read_text("utf-8")


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.title for example in EXAMPLES])
def test_the_check_refuses_what_asks_for_something_that_is_not_there(shipped: Sources, example: Example) -> None:
    known, found = (
        {(one.file, one.text) for one in check(sources, programs=False) if "`make docs` writes it" not in one.text}
        for sources in (shipped, edited(shipped, example.diff))
    )
    assert bool(found - known) == (example.title in REFUSED_BY_CHECK)
