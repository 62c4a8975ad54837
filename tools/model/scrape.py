"""What a version's Prometheus takes of the Collector."""

from tools.base.files import SourceError, Sources

PATH = "prometheus/prometheus.yml"
DERIVED = "otel-collector-derived"


def not_scraped(sources: Sources) -> set[str]:
    """The names that it drops from the derived metrics, which its file writes out with |; none without the file."""
    try:
        jobs = (sources.yaml(PATH).data or {}).get("scrape_configs") or []
    except SourceError:
        return set()
    rules = [rule for job in jobs if job["job_name"] == DERIVED for rule in job.get("metric_relabel_configs") or []]
    dropping = [rule["regex"] for rule in rules if rule.get("action") == "drop" and "regex" in rule]
    return {name for regex in dropping for name in str(regex).split("|")}
