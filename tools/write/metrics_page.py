"""The contract for people and for other tools.

`python -m tools.write.metrics_page` writes docs/metrics.md; `… --registry DIR` exports the contract as an OpenTelemetry
semantic-convention registry, which Weaver (https://github.com/open-telemetry/weaver) can check and generate from.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from simulator.entry import run
from tools.base.files import ROOT, SourceError, Sources
from tools.model.consumers import Consumer, affected, consumers
from tools.model.contract import JOB, OTHER, PATH, Contract, Metric, attribute, load

PAGE = "docs/metrics.md"
NAMESPACE = "healthcare"

_HEAD = f"""# Metrics

<!-- Written by `make docs` from {PATH}; `make check` tells when the two differ. -->

What Prometheus shows, all of it; the Collector derives it from spans. Every series carries `job="{JOB}"`. The labels'
sets are closed: a value outside of them shows as `{OTHER}`.
"""


def page(contract: Contract, using: Iterable[Consumer] = ()) -> str:
    """docs/metrics.md."""
    using = list(using)
    edges = ", ".join(f"{edge:g}" for edge in contract.buckets)
    parts = [_HEAD, *(_entry(metric, using) for metric in contract.metrics)]
    parts.append(f"## Buckets\nAll histograms, in seconds: {edges}. Every target and threshold is an edge.\n")
    parts.append(_health(contract))
    return "\n".join(parts)


def _entry(metric: Metric, using: list[Consumer]) -> str:
    lines = [f"## `{metric.name}`", metric.help, "", f"- {metric.type}, unit `{metric.unit}`; {_origin(metric)}"]
    lines += [f"- `{label}`: {', '.join(f'`{value}`' for value in values)}" for label, values in metric.labels.items()]
    if metric.source.instrument:
        lines.append("- `instance`: the process, by its random id")
    if metric.target:
        lines.append(f"- target: {metric.target}")
    if metric.alert_thresholds:
        lines.append(f"- alerts at {', '.join(f'{limit:g}' for limit in metric.alert_thresholds)}")
    reached = affected(using, set(metric.samples)).keys()
    people_see = [one for one in using if one.kind != "recording rule"]
    users = sorted({str(one) for one in people_see if any(use.sample in reached for use in one.uses)})
    if users:
        lines.append(f"- used by {', '.join(users)}")
    return "\n".join(lines) + "\n"


def _origin(metric: Metric) -> str:
    source = metric.source
    if source.instrument:
        return f"the service's instrument `{source.instrument}`"
    if source.attribute:
        return f"from every span with the attribute `{source.attribute}`"
    families = " and ".join(f"`{family}`" for family in source.families)
    conditions = "".join(f" with `{key}={value}`" for key, value in source.required.items())
    return f"from spans of the family {families}{conditions}"


def _health(contract: Contract) -> str:
    rows = [
        f"| `{one.name}` | {one.type} | {', '.join(f'`{label}`' for label in one.labels)} | `{one.job}` | {one.use} |"
        for one in contract.health
    ]
    head = [
        "## The pipeline's own health",
        "| metric | type | labels | scrape job | used for |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows]) + "\n"


def registry(contract: Contract) -> dict[str, dict[str, Any]]:
    """The files of a semantic-convention registry by name.

    Format: https://github.com/open-telemetry/weaver/blob/main/schemas/semconv-syntax.md
    """
    labels = sorted({label for metric in contract.metrics for label in metric.labels})
    attributes = [
        {
            "id": _id(label),
            "type": {"members": [_member(value) for value in sorted(contract.closed_set(label))]},
            "brief": f"The label `{label}`, in spans the attribute `{attribute(label)}`.",
            "stability": "stable",
        }
        for label in labels
    ]
    group = {"id": f"registry.{NAMESPACE}", "type": "attribute_group", "brief": "Labels.", "attributes": attributes}
    return {
        "manifest.yaml": {
            "description": "Telemetry of the healthcare backend.",
            "schema_url": f"https://example.org/{NAMESPACE}/schemas/1.0.0",
        },
        "attributes.yaml": {"groups": [group]},
        "metrics.yaml": {"groups": [_group(metric) for metric in contract.metrics]},
    }


def _group(metric: Metric) -> dict[str, Any]:
    return {
        "id": f"metric.{NAMESPACE}.{metric.name}",
        "type": "metric",
        "metric_name": metric.name,
        "instrument": metric.type,
        "unit": metric.unit,
        "brief": metric.help,
        "stability": "stable",
        "attributes": [{"ref": _id(label), "requirement_level": "required"} for label in metric.labels],
    }


def _id(label: str) -> str:
    return f"{NAMESPACE}.{label}"


def _member(value: str) -> dict[str, str]:
    name = "".join(letter if letter.isalnum() else "_" for letter in value).strip("_").lower()
    return {"id": name, "value": value, "brief": value, "stability": "stable"}


def main(arguments: list[str] | None = None) -> int:
    """Write the page or the registry; 1 if the contract cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m tools.write.metrics_page", description=__doc__)
    parser.add_argument("--registry", type=Path, metavar="DIR", help="write the registry into this folder instead")
    folder: Path | None = parser.parse_args(arguments).registry
    sources = Sources.of_disk()
    try:
        contract, using = load(sources), consumers(sources)
    except SourceError as error:
        print(error, file=sys.stderr)
        return 1
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in registry(contract).items():
            (folder / name).write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), "utf-8")
        print(f"{len(contract.metrics)} metrics in {folder}")
    else:
        (ROOT / PAGE).write_text(page(contract, using), "utf-8")
        print(PAGE)
    return 0


if __name__ == "__main__":
    run(main)
