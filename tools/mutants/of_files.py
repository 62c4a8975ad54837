"""Every way to break a file a little: one mutant a change, named so that people find the place."""

import ast
import copy
import pickle
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from tools.model.collector_yaml import VARIABLE

Keys = tuple[str | int, ...]

# In statements and conditions: each place is changed alone.
_OPERATORS = (
    (r" == ", " != "),
    (r" != ", " == "),
    (r" and ", " or "),
    (r" or ", " and "),
    (r"\bnot ", ""),
    (r" < ", " <= "),
    (r" > ", " >= "),
    (r" <= ", " < "),
    (r" >= ", " > "),
    (r" where .*", ""),
    (r"(?<=[ (])\d+(?=[) ]|$)", "7"),
    (r'"\^', '"'),
    (r'\$+"', '"'),
    (r'"((?:[^"\\]|\\.)*)"', r'"\1x"'),
)
_DURATION = re.compile(r"(\d+)(us|ms|s|m)")


@dataclass(frozen=True)
class FileMutant:
    """One change. `name` says where and what, `content` is the whole file with it: its text, or the data of a YAML."""

    path: str
    name: str
    content: Any

    @property
    def text(self) -> str:
        """The whole file with the change; written when asked for, since writing YAML is slow and most need no text."""
        return self.content if isinstance(self.content, str) else _dumped(self.content)


def of_yaml(path: str, text: str) -> Iterator[FileMutant]:
    """All mutants of a YAML file. Its comments are lost in them, its meaning is not."""
    data = yaml.safe_load(text)
    pickled, seen = pickle.dumps(data), {repr(data)}
    for keys, node in _places(data, ()):
        for what, change in _changes(data, keys, node):
            mutated = pickle.loads(pickled)  # noqa: S301 - made just above
            change(mutated)
            if (shown := repr(mutated)) not in seen:
                seen.add(shown)
                yield FileMutant(path, f"{_readable(data, keys)} {what}", mutated)


def _dumped(data: Any) -> str:
    text: str = yaml.dump(data, Dumper=_Plain, sort_keys=False, width=10_000, allow_unicode=True)
    return text


class _Plain(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Write everything out: an anchor's users must not change with it."""
        return True


def _places(node: Any, keys: Keys) -> Iterator[tuple[Keys, Any]]:
    if keys:
        yield keys, node
    if isinstance(node, dict | list):
        for key, item in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _places(item, (*keys, key))


def _changes(data: Any, keys: Keys, node: Any) -> Iterator[tuple[str, Callable[[Any], None]]]:
    yield "is gone", lambda mutated: _parent(mutated, keys).__delitem__(keys[-1])
    yield from ((f"is {_cut(value)}", _setter(keys, value)) for value in _values(node))
    above = _parent(data, keys)
    if isinstance(above, list) and isinstance(keys[-1], int):
        place = keys[-1]
        if "operations" not in keys and place + 1 < len(above) and _ordered(keys):
            swapped = [*above[:place], above[place + 1], node, *above[place + 2 :]]
            yield "changes places with the next", _setter(keys[:-1], swapped)
        if isinstance(node, dict) and "new_name" in node:
            yield "stands twice", _setter(keys[:-1], [*above, node])


def _values(node: Any) -> Iterator[Any]:
    """Other values of the same kind."""
    if isinstance(node, bool):
        yield not node
    elif isinstance(node, int | float):
        yield from (node * 2, node + 1)
    elif isinstance(node, str):
        yield from _texts(node)


def _texts(text: str) -> Iterator[str]:
    if match := _DURATION.fullmatch(text):
        yield f"{int(match[1]) * 2}{match[2]}"
    elif VARIABLE.search(text):
        yield VARIABLE.sub(lambda match: match["rest"].removeprefix(":-"), text)  # no longer to be set from outside
        yield re.sub(r":-[^}]*", "", text)  # without its default
    elif "(" in text or " == " in text or " != " in text:
        for pattern, replacement in _OPERATORS:
            for match in re.finditer(pattern, text):
                yield text[: match.start()] + match.expand(replacement) + text[match.end() :]
    else:
        yield text + "x"


def _ordered(keys: Keys) -> bool:
    """Whether the order of a list means something: processors of a pipeline, groups of statements, buckets."""
    return keys[-2] in ("processors", "trace_statements", "metric_statements", "buckets")


def _parent(data: Any, keys: Keys) -> Any:
    for key in keys[:-1]:
        data = data[key]
    return data


def _setter(keys: Keys, value: Any) -> Callable[[Any], None]:
    return lambda mutated: _parent(mutated, keys).__setitem__(keys[-1], copy.deepcopy(value))


def _readable(data: Any, keys: Keys) -> str:
    """The keys, with names of rows and metrics instead of their numbers, and the text of a statement."""
    parts = []
    for key in keys:
        data = data[key]
        if isinstance(data, dict) and isinstance(key, int):
            key = data.get("new_name") or data.get("name") or key
        parts.append(_cut(data) if isinstance(data, str) and isinstance(key, int) else str(key))
    return ".".join(parts)


def _cut(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 90 else text[:60] + "…" + text[-29:]


def of_python(path: str, text: str) -> Iterator[FileMutant]:
    """Mutants of a Python module: comparisons and conditions turned round, calls and filters left out."""
    tree = ast.parse(text)
    seen = {ast.unparse(tree)}
    for number, whole in enumerate(ast.walk(tree)):
        for way in (way for way in range(3) if _broken(whole, way)):
            broken = ast.parse(text)
            node = list(ast.walk(broken))[number]
            before = ast.unparse(node) if isinstance(node, ast.expr) else ""
            if other := _broken(node, way):
                mutated = ast.unparse(_Replacing(node, other).visit(broken))
                if mutated not in seen:
                    seen.add(mutated)
                    line = getattr(node, "lineno", "?")
                    name = f"line {line}: {_flat(before)} → {_flat(ast.unparse(other))}"
                    yield FileMutant(path, name, mutated)


class _Replacing(ast.NodeTransformer):
    def __init__(self, node: ast.AST, other: ast.AST) -> None:
        self.node, self.other = node, other

    def visit(self, node: ast.AST) -> Any:
        """The other node in the place of the one."""
        return self.other if node is self.node else self.generic_visit(node)


def _flat(text: str) -> str:
    return _cut(" ".join(text.split()))


_OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.LtE: ast.Gt,
    ast.Lt: ast.GtE,
    ast.Gt: ast.LtE,
}


def _broken(node: ast.AST, way: int) -> ast.AST | None:
    """What may stand in a node's place; None if there is no such way to break it."""
    if isinstance(node, ast.Compare) and way == 0 and type(node.ops[0]) in _OPPOSITE:
        return ast.Compare(node.left, [_OPPOSITE[type(node.ops[0])]()], node.comparators)
    if isinstance(node, ast.BoolOp) and way < len(node.values):
        rest = [value for number, value in enumerate(node.values) if number != way]
        return ast.BoolOp(node.op, rest) if len(rest) > 1 else rest[0]
    if isinstance(node, ast.IfExp) and way < 2:
        return node.body if way else node.orelse
    if isinstance(node, ast.comprehension) and way == 0 and node.ifs:
        return ast.comprehension(node.target, node.iter, [], node.is_async)
    if isinstance(node, ast.Call) and way == 0 and len(node.args) == 1 and not node.keywords:
        return node.args[0]
    if isinstance(node, ast.Constant) and way == 0 and isinstance(node.value, int):
        return ast.Constant(not node.value if isinstance(node.value, bool) else node.value + 1)
    return None
