"""Copies of this repository, as newcomers have them."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tools.base.files import ROOT


def copy(folder: Path) -> Path:
    """All files that git knows or would know, copied into this folder, with a command of its own installed."""
    command = ("git", "ls-files", "-z", "-c", "-o", "--exclude-standard")
    for name in filter(None, subprocess.check_output(command, cwd=ROOT).split(b"\0")):
        source, target = ROOT / os.fsdecode(name), folder / os.fsdecode(name)
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    _install(folder)
    return folder


def _install(folder: Path) -> None:
    """As the Makefile's rule, but for the packages, which are ours."""
    venv, uv = folder / ".venv", (sys.executable, "-m", "uv", "pip", "install", "--quiet")
    subprocess.run((sys.executable, "-m", "venv", "--without-pip", venv), check=True)
    [packages] = venv.glob("lib/python*/site-packages")
    (packages / "shared.pth").write_text(sysconfig.get_path("purelib"), "utf-8")
    options = ("--no-deps", "--no-build-isolation", "--offline", "--python", venv / "bin" / "python")
    subprocess.run((*uv, *options, "--editable", folder), check=True, env=os.environ | {"LC_ALL": "C.UTF-8"})
    (venv / "installed").touch()
