"""Unit tests start no process: the guard in conftest.py refuses each way to start one."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

NOTHING = [sys.executable, "-c", ""]


@pytest.mark.parametrize(
    "start",
    [
        lambda: subprocess.run(NOTHING, check=False),
        lambda: os.system(":"),  # noqa: S605
        lambda: os.fork(),
        lambda: os.posix_spawn(sys.executable, NOTHING, {}),
        lambda: os.spawnv(os.P_WAIT, sys.executable, NOTHING),  # noqa: S606
        lambda: multiprocessing.get_context("fork").Process(target=int).start(),
    ],
    ids=["subprocess", "system", "fork", "posix_spawn", "spawnv", "multiprocessing"],
)
def test_a_unit_test_that_starts_a_process_fails(start: Callable[[], object]) -> None:
    with pytest.raises(BaseException, match="unit tests start no process") as failure:
        start()
    assert not isinstance(failure.value, Exception)  # which the code under test might catch
