"""What the real binaries say of the files."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tools.base.files import Finding
from tools.check.collector import Checked
from tools.model import collector_yaml
from tools.model.consumers import RULES
from tools.stack.programs import ensure


def validates(it: Checked) -> Iterator[Finding]:
    """The real Collector takes the file: names, keys, references, statements."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(it.yaml.raw.text, "utf-8")
        environment = {**os.environ, "QUEUE_DIRECTORY": f"{folder}/queue"}
        run = subprocess.run(
            [ensure("otelcol"), "validate", f"--config={file}"],
            env=environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
    if run.returncode:
        said = (run.stderr or run.stdout).replace(str(file), collector_yaml.PATH).strip().splitlines() or [
            "no reason given"
        ]
        yield Finding(
            collector_yaml.PATH, _blamed(it, said), "otelcol validate: " + " ".join(line.strip() for line in said[:6])
        )


def _blamed(it: Checked, said: list[str]) -> int:
    """The line of the component that the Collector names, such as processors::transform/spans."""
    for words in re.findall(r"[\w/]+(?:::[\w/]+)+", " ".join(said)):
        if line := it.yaml.document.line(*words.split("::")):
            return line
    return 0


def promtool_agrees(it: Checked) -> Iterator[Finding]:
    """Prometheus' own checker takes its rule files."""
    for path in it.sources.matching(*RULES):
        command, text = (str(ensure("promtool")), "check", "rules"), it.sources.text(path)
        run = subprocess.run(command, input=text, capture_output=True, encoding="utf-8", check=False)
        if run.returncode:
            said = " ".join((run.stderr or run.stdout).replace("standard input", path).split())
            yield Finding(path, 0, f"promtool check rules: {said}")
