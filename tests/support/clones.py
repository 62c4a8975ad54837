"""Copies of this repository, as newcomers have them."""

import os
import shutil
import subprocess
from pathlib import Path

from tools.base.files import ROOT


def copy(folder: Path) -> Path:
    """All files that git knows or would know, copied into this folder; the installed packages are shared."""
    command = ("git", "ls-files", "-z", "-c", "-o", "--exclude-standard")
    for name in filter(None, subprocess.check_output(command, cwd=ROOT).split(b"\0")):
        source, target = ROOT / os.fsdecode(name), folder / os.fsdecode(name)
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder
