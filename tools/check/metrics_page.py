"""The contract for people, docs/metrics.md, and as an OpenTelemetry semantic-convention registry, which Weaver
(https://github.com/open-telemetry/weaver) can check and generate from.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from tools.base.files import Finding
from tools.model.consumers import Consumer, affected
from tools.model.contract import JOB, OTHER, PATH, Contract, Metric, attribute
from tools.model.repository import Repository

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


def writes_metrics_page(it: Repository) -> Iterator[Finding]:
    """docs/metrics.md is what the contract says."""
    wanted = page(it.contract, it.consumers)
    if PAGE not in it.sources.paths or it.sources.text(PAGE) != wanted:
        yield Finding(PAGE, 0, f"is not what {PATH} says: `make docs` writes it")
