"""What the real binaries say of the files."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tools.base.files import Finding, collector_extras
from tools.model import collector_yaml
from tools.model.consumers import RULES
from tools.model.repository import Repository
from tools.stack.programs import ensure


def validates(it: Repository) -> Iterator[Finding]:
    """The real Collector takes the file: names, keys, references, statements."""
    with tempfile.TemporaryDirectory() as folder:
        files = it.yaml.write(Path(folder))
        environment = {**os.environ, "QUEUE_DIRECTORY": f"{folder}/queue"}
        run = subprocess.run(
            [ensure("otelcol"), "validate", *(f"--config={file}" for file in files)],
            env=environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
    if run.returncode:
        said = run.stderr or run.stdout
        for file, path in zip(files, (collector_yaml.PATH, collector_extras()), strict=True):
            said = said.replace(str(file), path)
        lines = [line.strip() for line in said.strip().splitlines()] or ["no reason given"]
        yield it.wrong("otelcol validate: " + " ".join(lines[:6]), *_blamed(said))


def _blamed(said: str) -> list[str]:
    """The keys of the component that the Collector names in one of its two ways; empty if it names none."""
    if named := re.search(r"[\w/]+(?:::[\w/]+)+", said):
        return named[0].split("::")
    return (
        list(named.groups()) if (named := re.search(r"'(\w+)' error reading configuration for \"(\S+)\"", said)) else []
    )


def promtool_agrees(it: Repository) -> Iterator[Finding]:
    """Prometheus' own checker takes its rule files."""
    for path in it.sources.matching(*RULES):
        command, text = (str(ensure("promtool")), "check", "rules"), it.sources.text(path)
        run = subprocess.run(command, input=text, capture_output=True, encoding="utf-8", check=False)
        if run.returncode:
            said = " ".join((run.stderr or run.stdout).replace("standard input", path).split())
            yield Finding(path, 0, f"promtool check rules: {said}")
