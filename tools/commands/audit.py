"""Known vulnerabilities of all that is pinned: locked Python packages and built Go programs. `make audit`.

pip-audit asks osv.dev, govulncheck asks vuln.go.dev. Container images are not looked into.
"""

import subprocess
import sys

from simulator import entry
from tools.stack.programs import ROOT, STANDARD, ProgramError, ensure

PIP_AUDIT = "2.10.1"
LOCKS = ("requirements/service.txt", "requirements/worker.txt", "requirements/dev.txt", "tools/go/requirements.txt")


def commands() -> dict[str, list[str]]:
    """What is run, by what it looks into. Raises ProgramError where a program cannot be had."""
    pip_audit = [sys.executable, "-m", "uv", "tool", "run", f"pip-audit=={PIP_AUDIT}"]
    pip_audit += ["--vulnerability-service", "osv", "--disable-pip", "--require-hashes", "--progress-spinner", "off"]
    for lock in LOCKS:
        pip_audit += ["--requirement", lock]
    checker = str(ensure("govulncheck", print))
    return {"Python packages": pip_audit} | {
        name: [checker, "-mode=binary", str(ensure(name, print))] for name in STANDARD
    }


def main() -> int:
    """Run all of them; 1 if one finds something or cannot ask."""
    try:
        runs = commands()
    except ProgramError as error:
        print(error, file=sys.stderr)
        return 1
    failed = []
    for name, command in runs.items():
        print(f"== {name}", flush=True)
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(name)
    print(f"found something, or could not ask: {', '.join(failed)}" if failed else "nothing known")
    return bool(failed)


if __name__ == "__main__":
    entry.run(main)
