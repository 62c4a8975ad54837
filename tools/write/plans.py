"""The edits in the docs: each is a diff in the text, followed by what `make plan` says about it.

A test executes all of them and compares.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from rich.console import Console

from tools.base.errors import CannotRunError
from tools.base.files import ROOT, Sources
from tools.history.choice import SHIPPED
from tools.plan.changes import Plan
from tools.plan.compare import plan
from tools.plan.report import show

PAGE, ALERTS = "docs/editing-the-collector.md", "docs/editing-alerts.md"
PICTURE, PICTURED = "docs/editing-alerts.svg", "A shorter wait"
WIDTH = 10_000

_EXAMPLE = re.compile(
    r"^### (?P<title>.+?)\n(?:(?!^##).)*?```diff\n(?P<diff>.*?)```\n\n?```text\n(?P<plan>.*?)```\n",
    re.DOTALL | re.MULTILINE,
)
# What differs from run to run, or with every edit of another file: numbers of spans, seconds and the cost, and lines.
_UNSTEADY = re.compile(r"^\d+ spans, \d+ → \d+ samples.*\n?|, [\d.]+ s$|(?<=\.yaml|\.json):\d+", re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """One edit, and the plan that stands in the docs."""

    title: str
    diff: str
    plan: str


def examples(page: str) -> list[Example]:
    """All in the page, in order."""
    return [Example(match["title"], match["diff"], match["plan"]) for match in _EXAMPLE.finditer(page)]


def edited(base: Sources, diff: str) -> Sources:
    """The base with a diff applied.

    Raises:
        ValueError: it does not apply; the message is git's.
    """
    paths = re.findall(r"^\+\+\+ b/(\S+)", diff, re.MULTILINE)
    with tempfile.TemporaryDirectory(prefix="edit-") as folder:
        for path in paths:
            file = Path(folder) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(base.text(path), "utf-8")
        run = subprocess.run(
            ["git", "apply", "-"],  # noqa: S607
            cwd=folder,
            input=diff,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if run.returncode:
            raise ValueError(run.stderr.strip())
        for path in paths:
            base = base.edited(path, (Path(folder) / path).read_text("utf-8"))
    return base


def planned(base: Sources, example: Example) -> Plan:
    """What an edit of this base changes; rules are evaluated over the day that ships."""
    return plan(base, edited(base, example.diff), cost=False, history=SHIPPED)


def answer(base: Sources, example: Example) -> str:
    """What the plan says about an edit of this base, without colours and without what differs from run to run."""
    text = StringIO()
    try:
        show(planned(base, example), Console(file=text, width=WIDTH, soft_wrap=True))
    except CannotRunError as error:
        return f"cannot plan: {error}\n"
    _, _, said = _UNSTEADY.sub("", text.getvalue()).strip().partition("\n\n")  # the first line names the versions
    parts = said.split("\n\n")
    if parts[0].startswith("What the YAML says\n"):  # the diff says it, too
        return "\n".join(map(_head, parts[1:])) + "\n"
    return "\n\n".join(parts) + "\n"


def _head(part: str) -> str:
    """A part of a plan; where more than two things are said, the first and how many there are."""
    title, *said = re.split(r"\n(?=  (?:  )?\S)", part)
    if len(said) > 2:
        said[1:] = [f"  … {len(said) - 1} more"]
    return "\n".join([title, *said])


def rewritten(page: str, base: Sources) -> Iterator[tuple[str, str]]:
    """Title by title the page with the plans of now."""
    for example in examples(page):
        before, between, rest = page.partition(example.diff)
        page = before + between + rest.replace(example.plan, answer(base, example), 1)
        yield example.title, page


def pictured(base: Sources) -> Plan:
    """The plan of the edit that has a picture."""
    return next(planned(base, one) for one in examples((ROOT / ALERTS).read_text("utf-8")) if one.title == PICTURED)
