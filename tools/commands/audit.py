"""Is a vulnerability known of what is pinned?

Asks osv.dev and vuln.go.dev. Exit code: 1 if so, or if one does not answer.
"""

import subprocess
import sys

import click

from tools.stack.programs import ROOT, STANDARD, ensure

PIP_AUDIT = "2.10.1"
LOCKS = ("requirements/service.txt", "requirements/worker.txt", "requirements/dev.txt", "tools/go/requirements.txt")


def commands() -> dict[str, list[str]]:
    """What is run, by what it looks into. Raises ToolError where a program cannot be had."""
    pip_audit = [sys.executable, "-m", "uv", "tool", "run", f"pip-audit=={PIP_AUDIT}"]
    pip_audit += ["--vulnerability-service", "osv", "--disable-pip", "--require-hashes", "--progress-spinner", "off"]
    for lock in LOCKS:
        pip_audit += ["--requirement", lock]
    checker = str(ensure("govulncheck", print))
    return {"Python packages": pip_audit} | {
        name: [checker, "-mode=binary", str(ensure(name, print))] for name in STANDARD
    }


@click.command("audit", help=__doc__)
def command() -> int:
    failed = []
    for name, words in commands().items():
        click.echo(f"== {name}")
        if subprocess.run(words, cwd=ROOT, check=False).returncode:
            failed.append(name)
    click.echo(f"found something, or could not ask: {', '.join(failed)}" if failed else "nothing known")
    return int(bool(failed))
