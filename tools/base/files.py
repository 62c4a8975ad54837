"""The repository's files as checks read them: of the disk, of a commit, or with an edit laid over; YAML with lines."""

import os
import subprocess
import sys
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from tools.base.errors import ToolError

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # of C where there is one: a tenth of the time


def _product() -> Path:
    """The folder of the product's files: beside the tools, or, for tools installed as a package, where they are called.

    Raises SystemExit where there is none.
    """
    for folder in (Path(__file__).resolve().parents[2], Path.cwd()):
        if (folder / "otel-collector").exists():
            return folder
    sys.exit("the tools read and start what is in a checkout of this project: call them in one")


ROOT = _product()


def collector_extras() -> str:
    """The Collector's second file, from the repository's root: `COLLECTOR_EXTRAS`, else the shipped one."""
    return os.environ.get("COLLECTOR_EXTRAS") or "otel-collector/extras.yaml"


@dataclass(frozen=True, order=True)
class Finding:
    """What is wrong, and where; `line` is 0 where no line can be named."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


class SourceError(ToolError):
    """Files that cannot be read for what they should be; `findings` says which and why."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__("\n".join(map(str, findings)))
        self.findings = findings


@dataclass(frozen=True)
class Sources:
    """Texts by path from the repository's root.

    Args:
        name: what people call this version: a commit, or "your edit".
        paths: all there are.
        read: the text of one; raises OSError.
        edits: texts that stand in place of what `read` would give.
    """

    name: str
    paths: tuple[str, ...]
    read: Callable[[str], str]
    edits: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_disk(cls, root: Path = ROOT) -> "Sources":
        """The working tree: what git knows or would know, or all files where there is no git."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
            cwd=root,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",  # names of files are bytes
            check=False,
        )
        found = listed.stdout.split("\0") if listed.returncode == 0 else _walk(root)
        return cls(
            "your edit",
            tuple(sorted(path for path in set(found) if path and (root / path).is_file())),
            lambda path: (root / path).read_text("utf-8"),
        )

    @classmethod
    def of_commit(cls, ref: str, root: Path = ROOT) -> "Sources":
        """A commit of the repository.

        Raises:
            SourceError: there is no such commit, or no repository.
        """
        paths = _git(root, ref, "ls-tree", "-r", "-z", "--name-only", "--full-tree", ref).split("\0")
        short = _git(root, ref, "rev-parse", "--short", ref).strip()
        name = ref if short.startswith(ref) else f"{ref} ({short})"
        return cls(name, tuple(filter(None, paths)), lambda path: _git(root, ref, "show", f"{ref}:{path}"))

    def edited(self, path: str, text: str) -> "Sources":
        """The same with another text of one file."""
        return replace(self, paths=tuple(sorted({*self.paths, path})), edits={**self.edits, path: text})

    def text(self, path: str) -> str:
        """One file.

        Raises:
            SourceError: it cannot be read.
        """
        if path in self.edits:
            return self.edits[path]
        try:
            return self.read(path)
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(Finding(path, 0, f"cannot be read: {error}")) from error

    def matching(self, *patterns: str) -> list[str]:
        """The paths that match a shell pattern; a star is no slash."""
        return [path for path in self.paths if any(PurePosixPath(path).match(pattern) for pattern in patterns)]

    def yaml(self, path: str) -> "Yaml":
        """One file, parsed.

        Raises:
            SourceError: it cannot be read or is no YAML.
        """
        return _read_once(path, self.text(path))


@dataclass(frozen=True)
class Yaml:
    """A YAML file that knows its lines. A key that stands twice in one mapping is an error here, unlike in PyYAML."""

    path: str
    text: str

    @cached_property
    def data(self) -> Any:
        """What it says.

        Raises:
            SourceError: it is no YAML, or a key stands twice.
        """
        _ = self._lines
        return yaml.load(self.text, Loader=_Loader)  # noqa: S506 - it is a safe one

    def line(self, *keys: Hashable) -> int:
        """The line of what is under these keys, or of the nearest above it that exists."""
        while keys and keys not in self._lines:
            keys = keys[:-1]
        return self._lines.get(keys, 0)

    def finding(self, text: str, *keys: Hashable) -> Finding:
        """What is wrong with the part under these keys."""
        return Finding(self.path, self.line(*keys), text)

    @cached_property
    def _lines(self) -> dict[tuple[Hashable, ...], int]:
        try:
            root = yaml.compose(self.text, Loader=_Loader)
            return dict(self._walk(root, ())) if root else {}
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = " ".join(filter(None, [error.context, error.problem]))
            raise SourceError(Finding(self.path, mark.line + 1 if mark else 0, f"no YAML: {what}")) from error

    def _walk(self, node: yaml.Node, path: tuple[Hashable, ...]) -> Iterator[tuple[tuple[Hashable, ...], int]]:
        if isinstance(node, yaml.MappingNode):
            seen: dict[str, int] = {}
            for key, value in node.value:
                line = key.start_mark.line + 1
                if key.value in seen:
                    text = f"`{key.value}` stands here a second time, the first is in line {seen[key.value]}"
                    raise SourceError(Finding(self.path, line, text))
                seen[key.value] = line
                yield (*path, key.value), line
                yield from self._walk(value, (*path, key.value))
        elif isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                yield (*path, number), item.start_mark.line + 1
                yield from self._walk(item, (*path, number))


@lru_cache(maxsize=256)
def _read_once(path: str, text: str) -> Yaml:
    """The same for the same text, of whatever version; nobody changes what is parsed."""
    return Yaml(path, text)


def _git(root: Path, ref: str, *arguments: str) -> str:
    try:
        run = subprocess.run(
            ["git", *arguments],  # noqa: S607
            cwd=root,
            capture_output=True,
            encoding="utf-8",
            errors="replace",  # git speaks the locale's language
            check=True,
        )
    except FileNotFoundError as error:
        raise SourceError(Finding(ref, 0, "git is not installed, so there is nothing to compare with")) from error
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or ["git failed"]
        raise SourceError(Finding(ref, 0, f"no version to compare with: {lines[0]}")) from error
    return run.stdout


def _walk(root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
