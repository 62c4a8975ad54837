"""The environment variables that the installed packages of service and worker read, found in their sources."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import yaml

from app.environment import FAMILIES, KEPT
from tools.stack.programs import ROOT

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]+")
_READS = re.compile(r"\b(environb?|getenvb?|environment_variables)\b")
_READERS = ("getenv", "getenvb")
_OF_A_MAPPING = ("get", "pop", "setdefault")


@dataclass(frozen=True)
class Table:
    """What is known of variables, from variables.yaml."""

    meant: dict[str, str]
    hostile: dict[str, str]
    harmless: frozenset[str]
    not_read: frozenset[str]
    composed: frozenset[str]


@cache
def table() -> Table:
    """The recorded part."""
    document: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
    lists = {
        kind: frozenset(" ".join(document[kind].values()).split()) for kind in ("harmless", "not_read", "composed")
    }
    hostile = {name: str(value) for name, value in document["hostile"].items()}
    return Table(meant=document["meant"], hostile=hostile, **lists)


def taken_away(name: str) -> bool:
    """Whether our package's import removes it."""
    return name.startswith(FAMILIES) and name not in KEPT


@cache
def read_by_packages() -> dict[str, frozenset[str]]:
    """Each variable with the packages whose sources name it where they read the environment."""
    sources = list(_sources())
    constants = {name: value for _, _, tree in sources for name, value in _constants(tree).items()}
    found: dict[str, set[str]] = {}
    for package, file, tree in sources:
        names = [_text(argument, constants) for node in ast.walk(tree) for argument in _arguments(node)]
        if "environment_variables" in file:  # opentelemetry's own lists
            names += _constants(tree).values()
        for name in names:
            if name and _NAME.fullmatch(name):
                found.setdefault(name, set()).add(package)
    return {name: frozenset(packages) for name, packages in sorted(found.items())}


def _sources() -> Iterator[tuple[str, str, ast.Module]]:
    lines = (ROOT / "requirements" / "worker.txt").read_text("utf-8").splitlines()
    for package in sorted({line.partition("==")[0] for line in lines if "==" in line and not line.startswith(" ")}):
        try:
            files = distribution(package).files or []
        except PackageNotFoundError:  # for another Python or system
            continue
        for file in files:
            if file.suffix == ".py" and not {"tests", "test", "testing"} & set(file.parts):
                text = Path(str(file.locate())).read_text("utf-8")
                if _READS.search(text) or "environment_variables" in str(file):
                    yield package, str(file), ast.parse(text)


def _constants(tree: ast.Module) -> dict[str, str]:
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and target.id.strip("_").isupper()
    }


def _arguments(node: ast.AST) -> Iterator[ast.expr]:
    """The expressions that name a variable where the environment is read."""
    if isinstance(node, ast.Call) and node.args:
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        of_environ = isinstance(function, ast.Attribute) and name in _OF_A_MAPPING and _is_environ(function.value)
        if name in _READERS or of_environ or "env" in name.lower():
            yield node.args[0]
    elif isinstance(node, ast.Subscript) and _is_environ(node.value):
        yield node.slice
    elif isinstance(node, ast.Compare) and any(_is_environ(one) for one in node.comparators):
        yield node.left


def _is_environ(node: ast.expr) -> bool:
    return getattr(node, "attr", getattr(node, "id", "")) in ("environ", "environb", "env", "_environ")


def _text(node: ast.expr, constants: dict[str, str]) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return constants.get(getattr(node, "attr", getattr(node, "id", "")))
