"""The instruments reach Prometheus one way only: pushed, never scraped as well."""

from collections.abc import Iterator

from tools.base.files import Finding
from tools.model.collector_yaml import type_of
from tools.model.repository import Repository
from tools.model.scrape import DERIVED, PATH, not_scraped


def pushes_instruments(it: Repository) -> Iterator[Finding]:
    """What takes metrics over OTLP pushes them, and Prometheus drops just those from what it scrapes."""
    for name in it.yaml.entering("metrics"):
        if "otlp_http" not in map(type_of, it.yaml.pipelines[name]["exporters"]):
            text = f"{name} pushes nothing: scraped from several Collectors, a series would have several writers"
            yield it.wrong(text, "service", "pipelines", name, "exporters")
    instruments = set(it.contract.instruments)
    if PATH in it.sources.paths and (dropped := not_scraped(it.sources)) != instruments:
        names = "|".join(sorted(instruments))
        text = f"{DERIVED} has to drop {names}, which are pushed; it drops {'|'.join(sorted(dropped)) or 'nothing'}"
        yield it.sources.yaml(PATH).finding(text, "scrape_configs")
