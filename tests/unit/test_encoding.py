"""UTF-8 is said wherever text is read or written, so that no locale changes what patients or files get."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.sources import ROOT

OURS = sorted(
    path for part in ("service", "tools", "simulator", "bench", "tests/support") for path in (ROOT / part).rglob("*.py")
)
ENCODING_AT = {"read_text": 0, "write_text": 1}
"""Which positional argument says the encoding."""
FILES = {"open", "fdopen", "NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile", "TextIOWrapper"}
NO_FILES = {"os", "Image", "self", "sink", "pool"}
"""Have an `open` too."""


def silent(source: str) -> Iterator[int]:
    """The lines of calls that read or write text in the locale's encoding."""
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        said = {keyword.arg: keyword.value for keyword in call.keywords}
        if "encoding" in said:
            continue
        if (
            (name in ENCODING_AT and len(call.args) <= ENCODING_AT[name])
            or (name in FILES and not of_another_module(call) and not binary(name, call, said))
            or any(getattr(said.get(word), "value", None) is True for word in ("text", "universal_newlines"))
            or name in ("getoutput", "getstatusoutput")
        ):
            yield call.lineno


def of_another_module(call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Attribute) or call.func.attr != "open":
        return False
    return isinstance(call.func.value, ast.Name) and call.func.value.id in NO_FILES


def binary(name: str, call: ast.Call, said: dict[str | None, ast.expr]) -> bool:
    first = (isinstance(call.func, ast.Attribute) and name == "open") or name.endswith(
        "TemporaryFile"
    )  # path.open("rb")
    place = 0 if first else 1
    mode = said.get("mode") or (call.args[place] if len(call.args) > place else None)
    if mode is None:
        return name.endswith("TemporaryFile")
    return isinstance(mode, ast.Constant) and "b" in str(mode.value)


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("path.read_text()", [1]),
        ("path.read_text('utf-8')", []),
        ("path.read_text(encoding='utf-8')", []),
        ("path.write_text(text)", [1]),
        ("path.write_text(text, 'utf-8')", []),
        ("open(path)\nopen(path, 'rb')\nopen(path, 'w', encoding='utf-8')", [1]),
        ("path.open()\npath.open('wb')\npath.open('a')", [1, 3]),
        ("os.open(path, flags)\nos.fdopen(number, 'w')\nos.fdopen(number, 'wb')", [2]),
        ("NamedTemporaryFile()\nNamedTemporaryFile('w')", [2]),
        ("run(command, text=True)\nrun(command)\nrun(command, encoding='utf-8')", [1]),
    ],
)
def test_the_check_sees_what_the_locale_would_decide(source: str, lines: list[int]) -> None:
    assert list(silent(source)) == lines


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_utf_8_is_said(path: Path) -> None:
    assert list(silent(path.read_text("utf-8"))) == []
