"""Configurations that were written for compose, with the addresses and paths of the native run."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tools.base.errors import ToolError
from tools.stack.ports import HOST, Ports, loopback

_GRAFANA = f"http://{HOST}:3000"


def render_prometheus(source: Path, target: Path, ports: Ports) -> None:
    """Put loopback addresses for the host names of compose, and absolute paths for relative ones.

    Raises ToolError for a configuration that is no YAML, or a host that only compose has.
    """
    addresses = {
        "otel-collector:8889": f"{HOST}:{ports.collector_derived}",
        "otel-collector:8888": f"{HOST}:{ports.collector_own}",
        "prometheus:9090": f"{HOST}:{ports.prometheus}",
        "alertmanager:9093": f"{HOST}:{ports.alertmanager}",
    }
    try:
        config = yaml.safe_load(source.read_text("utf-8"))
        for job in config["scrape_configs"] + config["alerting"]["alertmanagers"]:
            for group in job["static_configs"]:
                group["targets"] = [addresses[target] for target in group["targets"]]
    except yaml.YAMLError as error:
        raise ToolError(f"{source} is no YAML: {error}") from error
    except KeyError as error:
        raise ToolError(f"{source}: nothing is known here of {error}; tools/stack/rendered.py has the list") from error
    config["rule_files"] = [_beside(source, pattern) for pattern in config.get("rule_files", ())]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")


def _beside(source: Path, pattern: str) -> str:
    """An absolute pattern for one that is relative to this file, whose own path may hold what patterns are made of.

    Raises ToolError for a *, which Prometheus takes for a pattern, escaped or not.
    """
    if "*" in str(source.parent):
        raise ToolError(f"Prometheus takes no folder with a * in its name: rename {source.parent}")
    return str(Path(re.sub(r"([\\*?\[])", r"\\\1", str(source.parent))) / pattern)


def _replaced(value: Any, texts: Mapping[str, str]) -> Any:
    """A YAML document's value with these parts of its texts replaced."""
    if isinstance(value, dict):
        return {key: _replaced(inner, texts) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, texts) for inner in value]
    if isinstance(value, str):
        for old, new in texts.items():
            value = value.replace(old, new)
    return value


def _templates(source: Path, target: Path, config: Mapping[str, Any], ports: Ports) -> Iterator[str]:
    """Names of copies in which links to Grafana have its port here; one that is given in full is left as it is."""
    for pattern in config.get("templates", ()):
        folder = source.parent / Path(pattern).parent
        for one in sorted(folder.glob(Path(pattern).name)):
            copy = target.parent / one.name
            copy.write_text(one.read_text("utf-8").replace(_GRAFANA, loopback(ports.grafana)), "utf-8")
            yield copy.name


def render_alertmanager(source: Path, target: Path, ports: Ports, receivers: Path | None) -> None:
    """Put the local receiver's loopback address and absolute paths for what compose has.

    Raises ToolError for a configuration that is no YAML.
    """
    secrets = str(receivers or target.parent / "secrets")
    ours = {"http://simulator:8085": loopback(ports.simulator), "/run/secrets": secrets}
    try:
        config = _replaced(yaml.safe_load(source.read_text("utf-8")), ours)
    except yaml.YAMLError as error:
        raise ToolError(f"{source} is no YAML: {error}") from error
    target.parent.mkdir(parents=True, exist_ok=True)
    config["templates"] = [_beside(target, name) for name in _templates(source, target, config, ports)]
    target.write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
