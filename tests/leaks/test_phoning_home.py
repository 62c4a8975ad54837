"""The stack phones home nowhere: started where nothing but the loopback interface is reached, nothing tries."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.leaks.without_internet import NAME, SOMEBODY, SOMEBODY6
from tools.stack import programs
from tools.stack.programs import ROOT

APART = ("unshare", "--net", "--mount")
BUILT = ("otelcol", "prometheus", "alertmanager", "jaeger")


def refused() -> str:
    """Why no namespace can be had here; empty if one can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    try:
        run = subprocess.run([*APART, "test", "-r", "/dev/net/tun"], capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return "" if run.returncode == 0 else f"no network namespace, or no /dev/net/tun: {run.stderr.strip()}"


@pytest.mark.skipif(bool(refused()), reason=refused())
def test_the_whole_stack_at_work_sends_nothing_to_the_outside(tmp_path: Path) -> None:
    for name in BUILT:
        programs.ensure(name)
    tmp_path.chmod(0o755)
    environment = {name: text for name, text in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"PYTHONPATH": os.pathsep.join((str(ROOT / "service"), str(ROOT)))}
    command = [*APART, "--", sys.executable, "-m", "tests.leaks.without_internet", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    tried = json.loads(run.stdout)
    assert tried["stack"] == []
    for somebody in [SOMEBODY, *([SOMEBODY6] if tried["version 6"] else [])]:  # and what is tried is seen
        for attempt in (f"UDP {somebody} 9 canary", f"TCP {somebody} 443"):
            assert any(seen.startswith(attempt) for seen in tried["deliberate"]), attempt
    assert any(NAME.partition(".")[0] in seen for seen in tried["deliberate"])
    assert any("posthog" in seen for seen in tried["mem0"])
