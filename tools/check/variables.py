"""The Collector's YAML against the README's table of environment variables."""

import re
from collections.abc import Iterator

from tools.base.files import Finding
from tools.model import collector_yaml
from tools.model.repository import Repository

README = "otel-collector/README.md"


def documents_variables(it: Repository) -> Iterator[Finding]:
    """Every `${env:…}` has a default and is in the README's table with that default, and no other is there."""
    text = it.sources.text(README)
    table = {
        name: line
        for line in text.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([A-Z_]{4,})`", line)
    }
    used = set()
    defaults: dict[str, str] = {}
    for name, rest, number in it.yaml.variables:
        used.add(name)
        default = rest.removeprefix(":-")
        if not rest.startswith(":-") or not default:
            problem = f"{name} has no default: unset it would be empty, 0 or a panic; write ${{env:{name}:-…}}"
            yield Finding(collector_yaml.PATH, number, problem)
        elif f"`{default}`" not in table.get(name, f"`{default}`"):
            yield Finding(collector_yaml.PATH, number, f"{name}: the default {default} is not the one in {README}")
        if name not in table:
            yield Finding(collector_yaml.PATH, number, f"{name} is not in the table of variables in {README}")
        if (other := defaults.setdefault(default, name)) != name and re.search(r":\d+$|^\d{4,}$", default):
            yield Finding(
                collector_yaml.PATH, number, f"{name} and {other} have the same default {default}: ports clash"
            )
    for name in sorted(table.keys() - used):
        line = text.splitlines().index(table[name]) + 1
        yield Finding(README, line, f"{name} is in the table of variables, but {collector_yaml.PATH} does not use it")
