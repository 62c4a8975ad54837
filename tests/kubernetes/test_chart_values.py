"""The chart's values: all settings can be set, and what is wrong is refused before anything is installed."""

from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from app.settings import Settings
from tests.kubernetes.conftest import CHART, CLUSTER, RELEASE, Helm
from tests.support.settings import SCHEMA, documented, offered

BY_THE_CHART = {
    *("COLLECTOR_METRICS_URL", "COLLECTOR_HEALTH_URL", "PROMETHEUS_QUERY_URL"),
    *("MEM0_DIR", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"),
}
OF_THE_IMAGE = {"HEARTBEAT_FILE"}
NEEDS_A_FILE = {"PGPASSFILE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGSSLCRL", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"}
NO_SETTING = {"GRPC_ENABLE_FORK_SUPPORT", "UVICORN_"}


def test_every_setting_of_the_service_can_be_set() -> None:
    elsewhere = BY_THE_CHART | OF_THE_IMAGE | NEEDS_A_FILE | NO_SETTING
    assert offered("settings") | offered("secrets") == documented() - elsewhere


def test_a_secret_can_be_set_by_reference_only() -> None:
    secret = {name.upper() for name, one in Settings.model_fields.items() if SecretStr.__name__ in str(one.annotation)}
    assert offered("secrets") == secret | {"PGPASSWORD", "OTEL_EXPORTER_OTLP_HEADERS"}
    assert not offered("secrets") & offered("settings")


def test_every_value_is_told_of() -> None:
    def leaves(schema: dict[str, Any], path: str = "") -> set[str]:
        inner = schema.get("properties", {})
        return {path} if not inner else {one for key in inner for one in leaves(inner[key], f"{path}.{key}")}

    def given(values: Any, schema: dict[str, Any], path: str = "") -> set[str]:
        inner = schema.get("properties", {})
        return (
            {path} if not inner else {one for key in values for one in given(values[key], inner[key], f"{path}.{key}")}
        )

    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    assert given(values, SCHEMA) == leaves(SCHEMA) - {".global"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"colector": {}}, "colector"),
        ({"collector": {"replicas": 3}}, "replicas"),
        ({"collector": {"drainSeconds": 10}}, "drainSeconds"),
        ({"collector": {"queue": {"size": "1Gb"}}}, "size"),
        ({"service": {"image": "healthcare-observability/service"}}, "image"),
        ({"service": {"replicas": 0}}, "replicas"),
        ({"service": {"allowFrom": [{}]}}, "allowFrom"),
        ({"traceStore": {"kind": "zipkin"}}, "kind"),
        ({"traceStore": {"endpoint": "http://tempo:4317"}}, "endpoint"),
        ({"prometheus": {"url": "http://prometheus:9090/"}}, "url"),
        ({"backend": {"settings": {"EVOLUTON_API_URL": "http://e"}}}, "EVOLUTON_API_URL"),
        ({"backend": {"settings": {"WEBHOOK_SECRET": "written here"}}}, "WEBHOOK_SECRET"),
        ({"backend": {"secrets": {"EVOLUTION_API_KEY": "written here"}}}, "EVOLUTION_API_KEY"),
        ({"backend": {"secrets": {"DATABASE_URL": None}}}, "DATABASE_URL"),
        ({"backend": {"secrets": {"WEBHOOK_SECRET": None}}}, "WEBHOOK_JWT_KEY"),
    ],
)
def test_a_wrong_value_is_refused_and_named(values: dict[str, Any], said: str, helm: Helm) -> None:
    run = helm("template", RELEASE, ".", *CLUSTER, values=values)
    assert run.returncode != 0
    assert said in run.stderr
    assert "written here" not in run.stderr
