"""Reads from Prometheus what the Collector counted, in raw values: increase() extrapolates."""

from collections import Counter

import httpx

from simulator.settings import SimulatorError

METRICS = ("webhook_requests_total", "webhook_request_duration_seconds_count")

Counts = dict[str, Counter[tuple[str, str]]]
"""By metric, requests by (lane, status)."""


def read(url: str) -> Counts:
    """The counts of now; a series that does not exist yet counts 0. Raises SimulatorError."""
    return {metric: _query(url, f"sum by (lane, status) ({metric})") for metric in METRICS}


def since(before: Counts, now: Counts) -> Counts:
    """What was added between the two; negative where the Collector was restarted."""
    added: Counts = {}
    for metric in METRICS:
        added[metric] = Counter(now[metric])
        added[metric].subtract(before[metric])
    return added


def _query(url: str, query: str) -> Counter[tuple[str, str]]:
    try:
        # Two scrapes: by default Prometheus goes on showing what a stopped Collector had counted for five minutes.
        params = {"query": query, "lookback_delta": "10s"}
        response = httpx.get(f"{url}/api/v1/query", params=params, timeout=5.0, trust_env=False)
        result = response.raise_for_status().json()["data"]["result"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise SimulatorError(f"Prometheus at {url} does not answer ({type(error).__name__}): `make status`") from error
    labels = [(row["metric"].get("lane", ""), row["metric"].get("status", "")) for row in result]
    return Counter(dict(zip(labels, (int(float(row["value"][1])) for row in result), strict=True)))
