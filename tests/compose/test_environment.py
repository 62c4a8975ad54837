"""What the environment of docker-compose.yaml hands on: secrets and settings."""

import re
from typing import Any
from urllib.parse import urlsplit

import yaml

from app.settings import Settings
from tests.compose.conftest import ROOT, Model, Read

FILE = ROOT / "docker-compose.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(FILE.read_text())
COLLECTOR = (ROOT / "otel-collector" / "config.yaml").read_text()


def test_secrets_come_from_the_environment_and_reach_everybody_who_needs_them(read: Read) -> None:
    secrets = {"WEBHOOK_SECRET": "first", "EVOLUTION_API_KEY": "second", "POSTGRES_PASSWORD": "third"}
    secrets["GRAFANA_PASSWORD"] = "fourth"
    services = read(secrets)["services"]
    holders: dict[str, set[str]] = {}
    for name, service in services.items():
        for value in (service.get("environment") or {}).values():
            holders.setdefault(str(value), set()).add(name)
    assert holders["first"] == {"service", "worker", "simulator"}
    assert holders["second"] == {"service", "worker", "simulator"}
    assert holders["third"] == {"postgres", "service", "worker"}
    assert holders["fourth"] == {"grafana"}
    assert not [value for value in holders if value.startswith("demo-")]


def test_a_default_secret_says_that_it_is_a_demos(services: dict[str, Model]) -> None:
    secret = re.compile(r"(SECRET|PASSWORD|KEY)$")
    values = {
        value
        for service in services.values()
        for name, value in (service.get("environment") or {}).items()
        if secret.search(name) and value is not None
    }
    assert values == {
        *("demo-webhook-secret", "demo-evolution-key", "demo-postgres-password"),
        "demo-grafana-password",
    }
    assert urlsplit(services["service"]["environment"]["DATABASE_URL"]).password is None


def test_every_variable_handed_to_a_program_is_one_that_it_reads(services: dict[str, Model]) -> None:
    settings = {name.upper() for name in Settings.model_fields} | {"PGPASSWORD"}
    settings |= {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_CONSOLE_EXPORTER"}
    simulator = " ".join(path.read_text() for path in (ROOT / "simulator").glob("*.py"))
    known = {
        "service": settings,
        "worker": settings,
        "simulator": set(re.findall(r"setting\(\"([A-Z_]+)\"", simulator)),
        "otel-collector": {*re.findall(r"\$\{env:([A-Z_]+)", COLLECTOR), "GOMEMLIMIT", "GOGC"},
    }
    for name, variables in known.items():
        assert set(services[name]["environment"]) - {"NO_PROXY", "no_proxy"} <= variables


def test_every_variable_that_can_be_set_is_documented() -> None:
    text = FILE.read_text()
    handed_on = {name for name, value in DOCUMENT["x-backend"].items() if value is None}
    handed_on |= {name for name, value in DOCUMENT["services"]["service"]["environment"].items() if value is None}
    documented = set(re.findall(r"`([A-Z_0-9]+)`", (ROOT / "docs" / "docker.md").read_text()))
    assert set(re.findall(r"\$\{([A-Z_0-9]+)", text)) - {"NAME"} | handed_on <= documented


# Proxies of Docker's client, which it puts into every container
