"""The simulator's messages depend on their seed alone."""

import hashlib
import subprocess
import sys

from simulator.messages import generate
from tools.base.files import ROOT

NOW = 1_795_000_000


def test_the_same_seed_gives_the_same_bytes_in_every_process() -> None:
    program = (
        "import hashlib; from simulator.messages import generate;"
        "print(hashlib.sha256(repr(generate(7, 500, now=NOW)).encode()).hexdigest())"
    ).replace("NOW", str(NOW))
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == hashlib.sha256(repr(generate(7, 500, now=NOW)).encode()).hexdigest()
