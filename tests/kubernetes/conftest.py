"""The chart as Helm renders it, and a real API server that judges it; `make test-scale` builds what they need."""

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kubernetes.api_server import LOADER, ApiServer, running
from tools.stack import programs

CHART = programs.ROOT / "deploy" / "kubernetes"
RELEASE = "clinic"
CLUSTER = ("--namespace", RELEASE, "--kube-version", programs.KUBERNETES)
"""Which a rendering without a cluster has to be told."""

Manifest = dict[str, Any]
Values = Mapping[str, Any]
Helm = Callable[..., subprocess.CompletedProcess[str]]


def needed(name: str) -> Path:
    """A program that only these tests need; without it the test is skipped."""
    return programs.built(name) or pytest.skip(f"{name} is not built: `make test-scale` builds it and runs this test")


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Runs helm with these words; `values` are laid over the chart's own."""
    program, home = needed("helm"), tmp_path_factory.mktemp("helm")
    environment = os.environ | {f"HELM_{name}_HOME": str(home) for name in ("CACHE", "CONFIG", "DATA")}

    def run(*words: str, values: Values | None = None) -> subprocess.CompletedProcess[str]:
        laid_over = yaml.safe_dump(dict(values or {}))
        command = [str(program), *words, *(("--values", "-") if words[0] == "template" else ())]
        return subprocess.run(
            command, input=laid_over, cwd=CHART, env=environment, capture_output=True, text=True, check=False
        )

    return run


def template(helm: Helm, values: Values | None = None, chart: Path = CHART) -> str:
    """What the chart becomes."""
    run = helm("template", RELEASE, str(chart), *CLUSTER, values=values)
    assert run.returncode == 0, run.stderr
    return run.stdout


def documents(text: str) -> list[str]:
    """The manifests in a text, each as it is written."""
    return [part for part in text.split("\n---\n") if "\nkind: " in part]


def made(helm: Helm, values: Values | None = None, chart: Path = CHART) -> list[Manifest]:
    """What the chart becomes, read."""
    return [one for one in yaml.load_all(template(helm, values, chart), LOADER) if one]


@pytest.fixture(scope="session")
def rendered(helm: Helm) -> str:
    """The chart with its own values."""
    return template(helm)


@pytest.fixture(scope="session")
def manifests(helm: Helm) -> list[Manifest]:
    """The same, read."""
    return made(helm)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Kubernetes' API server, with the Prometheus operator's resources and a namespace under `restricted`."""
    etcd, kube_apiserver, crds = needed("etcd"), needed("kube-apiserver"), needed("crds").parent
    with running(tmp_path_factory.mktemp("kubernetes"), etcd, kube_apiserver) as server:
        for kind in ("podmonitors", "prometheusrules", "prometheuses", "alertmanagers"):
            server.define((crds / f"monitoring.coreos.com_{kind}.yaml").read_text("utf-8"))
        server.create_namespace(RELEASE, {"pod-security.kubernetes.io/enforce": "restricted"})
        yield server
