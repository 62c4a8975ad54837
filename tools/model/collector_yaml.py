"""The Collector's YAML as checks read it: its statements, rows and pipelines, each with its place in the file."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tools.base.files import SourceError, Sources, Yaml

PATH = "otel-collector/config.yaml"
VARIABLE = re.compile(r"\$\{env:(?P<name>\w+)(?P<rest>[^}]*)\}")
LABELS = "transform/labels"
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


class CollectorYaml:
    """One version of the file.

    Raises:
        SourceError: it is no YAML, or lacks what a Collector's YAML has.
    """

    def __init__(self, sources: Sources) -> None:
        self.raw = sources.yaml(PATH)
        self.document = Yaml(PATH, self.raw.text.replace("$$", "$"))  # what the Collector reads after replacing
        if not isinstance(self.document.data, dict):
            raise SourceError(self.document.finding("is no Collector configuration: no mapping at the top"))
        for part in ("receivers", "processors", "connectors", "exporters", "service"):
            if not isinstance(self.document.data.get(part), dict):
                raise SourceError(self.document.finding(f"has no `{part}`", part))

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
        """The pipelines of a signal that take from outside, not from a connector."""
        return [
            name
            for name, pipeline in self.pipelines.items()
            if type_of(name) == signal and any(item not in self.connectors for item in pipeline["receivers"])
        ]

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
