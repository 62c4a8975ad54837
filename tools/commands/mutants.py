"""Break what ships: is each break caught?

In every small way; all kinds, or these. collector: its YAML, the contract and the service's redaction; caught by
`check`, by the Collector's own validation, by `plan` or by a test. rules: Prometheus' rules; caught by a test in
prometheus/tests. dashboards: each value and query; caught by a rule of their structure or a value that is promised.

A survivor needs a reason in the YAML file of its kind in tools/mutants/. Exit code: 1 if one has none.
"""

import os
from importlib import import_module

import click

from tools.base.console import terminal
from tools.mutants.verdicts import Choice

KINDS = ("collector", "rules", "dashboards")


@click.command("mutants", help=__doc__)
@click.argument("kinds", nargs=-1, type=click.Choice(KINDS))
@click.option("--sample", type=click.IntRange(1), metavar="N", help="Only so many of each, the same ones every time.")
@click.option("--match", default="", metavar="REGEX", help="Only mutants whose file or name matches.")
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, help="How many at a time; one a core.")
@click.option("--list", "names_only", is_flag=True, help="Print their names, try none.")
def command(kinds: tuple[str, ...], sample: int | None, match: str, jobs: int, names_only: bool) -> int:
    choice, console = Choice(sample, match, jobs, names_only), terminal()
    good = [import_module(f"tools.mutants.{kind}").judge(choice, console) for kind in kinds or KINDS]
    return 0 if all(good) else 1
