"""The documented series of all Collectors together, asked of Prometheus, written as one Collector would show them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import httpx

from app.observability.contract import Contract, Shown

_JOB = "healthcare-backend"
_NAME = "name_of_metric"  # a sum drops the name, so it is kept as a label
_FORGOTTEN = "2m"  # what is pushed has no mark of its end


async def exposition(client: httpx.AsyncClient, url: str, contract: Contract, within: httpx.Timeout) -> str:
    """Prometheus' text format: counts are the sums over all Collectors, each since its own start.

    Args:
        client: asks.
        url: of Prometheus, or of what answers its API for several (Thanos Query).
        contract: which series, with which labels.
        within: how long that may take.

    Raises:
        httpx.HTTPError: it can't be reached, or refuses.
        ValueError: what it says is no answer of Prometheus' API.
    """
    answer = await client.post(f"{url.rstrip('/')}/api/v1/query", data={"query": query(contract)}, timeout=within)
    try:
        rows = answer.raise_for_status().json()["data"]["result"]
        return written(rows, contract)
    except (KeyError, TypeError) as error:
        raise ValueError("no answer of Prometheus' API") from error


def query(contract: Contract) -> str:
    """One question for all: counts summed over what was scraped, and what processes pushed as it is."""
    labels = ", ".join((_NAME, "job", "le", *sorted(contract.labels)))
    derived = _named(sample for one in contract.shown if not one.pushed for sample in one.samples)
    pushed = _named(sample for one in contract.shown if one.pushed for sample in one.samples)
    return f"sum by ({labels}) ({_keeping_name(derived)}) or {_keeping_name(f'last_over_time({pushed}[{_FORGOTTEN}])')}"


def _named(names: Iterable[str]) -> str:
    return f'{{job="{_JOB}",__name__=~"{"|".join(names)}"}}'


def _keeping_name(expression: str) -> str:
    return f'label_replace({expression}, "{_NAME}", "$1", "__name__", "(.+)")'


def written(rows: Iterable[Mapping[str, Any]], contract: Contract) -> str:
    """The rows of an answer, metric by metric, with type and help. Raises KeyError and TypeError for other rows."""
    documented = {"job", "instance", "le", *contract.labels}
    lines: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        labels = {label: text for label, text in row["metric"].items() if label in documented}
        if labels.get("le", "+Inf") != "+Inf":
            labels["le"] = f"{float(labels['le']):g}"  # Prometheus has 1.0 where the Collector shows 1
        pairs = ",".join(f'{label}="{text}"' for label, text in sorted(labels.items()))
        lines[row["metric"][_NAME]].append(f"{row['metric'][_NAME]}{{{pairs}}} {row['value'][1]}")
    return "".join(_family(one, lines) for one in contract.shown if any(lines[name] for name in one.samples))


def _family(metric: Shown, lines: Mapping[str, list[str]]) -> str:
    of_it = [line for name in metric.samples for line in lines[name]]
    return "\n".join((f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.type}", *of_it, ""))
