"""The Collector's YAML as checks read it, extras included: its statements, rows and pipelines, each with its place."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tools.base.files import Finding, SourceError, Sources, Yaml, collector_extras

PATH = "otel-collector/config.yaml"
VARIABLE = re.compile(r"\$\{env:(?P<name>\w+)(?P<rest>[^}]*)\}")
SPANS, ROWS, DERIVED, INSTRUMENTS = "transform/spans", "metrics_transform", "transform/derived", "transform/instruments"
SERVICES, ALLOWED = "filter/services", "filter/instruments"
SAMPLERS = ("probabilistic_sampler", "tail_sampling")

Keys = tuple[str | int, ...]


@dataclass(frozen=True)
class Statement:
    """An OTTL statement, where it stands, and the conditions of its group as one text."""

    text: str
    keys: Keys
    context: str
    conditions: str


@dataclass(frozen=True)
class Row:
    """A row that makes a documented metric."""

    content: Mapping[str, Any]
    keys: Keys

    @property
    def name(self) -> str:
        """Of the metric that it makes."""
        return str(self.content.get("new_name", ""))

    @property
    def labels(self) -> list[str]:
        """The attributes that it keeps."""
        operations = self.content.get("operations") or [{}]
        return list(operations[0].get("label_set") or [])

    def selects(self, key: str, value: str) -> bool:
        """Whether a point with this attribute is taken."""
        pattern = str((self.content.get("experimental_match_labels") or {}).get(key))
        return re.search(pattern, value) is not None if self.is_pattern else pattern == value

    @property
    def is_pattern(self) -> bool:
        """Whether names and labels are matched as regular expressions."""
        return self.content.get("match_type") == "regexp"


class Layered:
    """Two YAML files, one laid over the other as the Collector does: mappings are merged, all else is replaced."""

    def __init__(self, ours: Yaml, extras: Yaml) -> None:
        self.ours, self.extras = ours, extras

    @cached_property
    def data(self) -> Any:
        """What the two say together."""
        return _laid_over(self.ours.data, self.extras.data or {})

    def finding(self, text: str, *keys: str | int) -> Finding:
        """What is wrong with the part under these keys, in the file that decides it."""
        return self._deciding(keys).finding(text, *keys)

    @property
    def replaced(self) -> list[tuple[Keys, Any, Any]]:
        """Where the second file does not add but replace: keys, what was there, and what is there now."""
        return list(_replaced((), self.ours.data, self.extras.data or {}))

    def _deciding(self, keys: Keys) -> Yaml:
        ours, extras = self.ours.data, self.extras.data or {}
        for key in keys:
            if not isinstance(extras, dict):
                return self.extras
            if key not in extras:
                break
            ours, extras = ours.get(key) if isinstance(ours, dict) else None, extras[key]
        return self.ours if isinstance(ours, dict) and isinstance(extras, dict) else self.extras  # both: it adds


def _laid_over(ours: Any, extras: Any) -> Any:
    if not isinstance(ours, dict) or not isinstance(extras, dict):
        return extras
    return ours | {key: _laid_over(ours.get(key), item) for key, item in extras.items()}


def _replaced(keys: Keys, ours: Any, extras: Any) -> Iterator[tuple[Keys, Any, Any]]:
    if not isinstance(ours, dict) or not isinstance(extras, dict):
        yield keys, ours, extras
        return
    for key in (key for key in extras if key in ours):
        yield from _replaced((*keys, key), ours[key], extras[key])


def extras_text(sources: Sources) -> str:
    """The second file of this version; empty if there is none, as in commits before it."""
    try:
        return sources.text(collector_extras())
    except SourceError:
        return ""


class CollectorYaml:
    """One version of the file, with the extras laid over it.

    Raises:
        SourceError: either is no YAML, or they lack what a Collector's YAML has.
    """

    def __init__(self, sources: Sources) -> None:
        self.raw = sources.yaml(PATH)
        self.extras = extras_text(sources)
        ours = Yaml(PATH, self.raw.text.replace("$$", "$"))  # what the Collector reads after replacing
        extras = Yaml(collector_extras(), self.extras.replace("$$", "$"))
        for one in (ours, extras):
            if not isinstance(one.data, dict) and not (one is extras and one.data is None):
                raise SourceError(one.finding("is no Collector configuration: no mapping at the top"))
        self.document = Layered(ours, extras)
        for part in ("receivers", "processors", "connectors", "exporters", "service"):
            if not isinstance(self.document.data.get(part), dict):
                raise SourceError(self.document.finding(f"has no `{part}`", part))

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Both files as they are, for a Collector to read."""
        written = folder / "config.yaml", folder / "extras.yaml"
        for file, text in zip(written, (self.raw.text, self.extras), strict=True):
            file.write_text(text, "utf-8")
        return written

    def ours(self, part: str) -> set[str]:
        """The names of the components that config.yaml itself declares."""
        return set(self.document.ours.data.get(part) or {})

    def is_own(self, pipeline: str) -> bool:
        """Whether a pipeline takes from or gives to what config.yaml declares, or takes OTLP."""
        receivers, exporters = self.pipelines[pipeline]["receivers"], self.pipelines[pipeline]["exporters"]
        ours = self.ours("receivers") | self.ours("connectors") | self.ours("exporters")
        return not ours.isdisjoint([*receivers, *exporters]) or "otlp" in map(type_of, receivers)

    def part(self, *keys: str | int) -> Any:
        """What is under these keys; None if nothing is."""
        found: Any = self.document.data
        for key in keys:
            if isinstance(found, dict) or (isinstance(found, list) and isinstance(key, int) and key < len(found)):
                found = found.get(key) if isinstance(found, dict) else found[key]  # type: ignore[index]
            else:
                return None
        return found

    def statements(self, processor: str) -> list[Statement]:
        """All of a transform processor, in order."""
        return list(self._statements(processor))

    def _statements(self, processor: str) -> Iterator[Statement]:
        for kind in ("trace_statements", "metric_statements"):
            for number, group in enumerate(self.part("processors", processor, kind) or []):
                if isinstance(group, dict):
                    conditions = " and ".join(map(str, group.get("conditions") or []))
                    for index, text in enumerate(group.get("statements") or []):
                        keys = ("processors", processor, kind, number, "statements", index)
                        yield Statement(str(text), keys, str(group.get("context")), conditions)

    @cached_property
    def rows(self) -> list[Row]:
        """The rows, in order."""
        keys = ("processors", ROWS, "transforms")
        return [Row(row, (*keys, number)) for number, row in enumerate(self.part(*keys) or [])]

    @cached_property
    def pipelines(self) -> dict[str, dict[str, list[str]]]:
        """Receivers, processors and exporters of each."""
        return {
            str(name): {
                part: list((pipeline or {}).get(part) or []) for part in ("receivers", "processors", "exporters")
            }
            for name, pipeline in (self.part("service", "pipelines") or {}).items()
        }

    @cached_property
    def connectors(self) -> list[str]:
        """The names of those that are declared."""
        return list(self.document.data["connectors"])

    def of_type(self, part: str, kind: str) -> list[str]:
        """The names of components of a type, for instance `span_metrics` and `span_metrics/second`."""
        return [name for name in self.part(part) or {} if type_of(name) == kind]

    def entering(self, signal: str) -> list[str]:
        """The pipelines of a signal that take from outside, not from a connector; none that is the extras' alone."""
        return [
            name
            for name, pipeline in self.pipelines.items()
            if type_of(name) == signal
            and any(item not in self.connectors for item in pipeline["receivers"])
            and self.is_own(name)
        ]

    def signals(self, exporter: str) -> set[str]:
        """Of the pipelines that end in this exporter."""
        return {type_of(name) for name, one in self.pipelines.items() if exporter in one["exporters"]}

    @cached_property
    def variables(self) -> list[tuple[str, str, int]]:
        """Name, what stands after it in the braces, and line of each `${env:…}`, comments left out."""
        return [
            (match["name"], match["rest"], number)
            for number, line in enumerate(self.raw.text.splitlines(), 1)
            for match in VARIABLE.finditer(re.sub(r"(^|\s)#.*", "", line))
        ]


def type_of(component: str) -> str:
    """The type in a component's name."""
    return component.partition("/")[0]


def strings(text: str) -> list[str]:
    """The string literals in a statement, with OTTL's escapes undone."""
    return [literal.replace("\\\\", "\\") for literal in re.findall(r'"((?:[^"\\]|\\.)*)"', text)]


def listed(text: str) -> list[str] | None:
    """The strings of the one list in a statement that is not an index; None if there is not exactly one."""
    lists = re.findall(r"[(\s]\[([^\]]*)\]", text)
    return strings(lists[0]) if len(lists) == 1 else None
