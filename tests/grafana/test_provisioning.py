"""What Grafana is given at its start fits the dashboards, the stack and the promise to phone nobody."""

import configparser
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.base.files import ROOT

FOLDER = ROOT / "grafana"
SOURCES: dict[str, Any] = yaml.safe_load((FOLDER / "provisioning" / "datasources" / "datasources.yaml").read_text())
BY_UID = {one["uid"]: one for one in SOURCES["datasources"]}
DASHBOARDS = sorted((FOLDER / "dashboards").glob("*.json"))
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())["services"]["grafana"]


@pytest.fixture
def ini() -> configparser.ConfigParser:
    """grafana.ini."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(FOLDER / "grafana.ini")
    return parser


def test_the_data_sources_have_the_uids_that_dashboards_and_links_name() -> None:
    assert set(BY_UID) == {"prometheus", "tempo", "jaeger", "alertmanager"}
    assert [one["uid"] for one in SOURCES["datasources"] if one.get("isDefault")] == ["prometheus"]
    for file in DASHBOARDS:
        explored = re.findall(r"datasource%22%3A%22(\w+)%22", file.read_text())
        assert set(explored) <= set(BY_UID), file.name


def test_a_diamond_leads_to_the_store_that_is_chosen_and_a_span_back_to_the_metrics() -> None:
    [destination] = BY_UID["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert (destination["name"], destination["datasourceUid"]) == ("trace_id", "${TRACE_STORE}")
    assert re.fullmatch(r"\$\{TRACE_STORE:-(\w+)\}", COMPOSE["environment"]["TRACE_STORE"])[1] in BY_UID  # type: ignore[index]
    for store in ("tempo", "jaeger"):
        assert BY_UID[store]["jsonData"]["tracesToMetrics"]["datasourceUid"] == "prometheus"


def test_every_address_comes_from_the_environment_that_compose_gives() -> None:
    files = [*(FOLDER / "provisioning").rglob("*.yaml"), FOLDER / "grafana.ini"]
    used = {name for file in files for name in re.findall(r"(?<!\$)\$(?:__env)?\{(\w+)\}", file.read_text())}
    not_ours = re.compile("GF_.*|NO_PROXY", re.IGNORECASE)
    assert used == {name for name in COMPOSE["environment"] if not not_ours.fullmatch(name)}


def test_dashboards_are_read_from_where_compose_mounts_them() -> None:
    provider = yaml.safe_load((FOLDER / "provisioning" / "dashboards" / "dashboards.yaml").read_text())["providers"][0]
    assert provider["options"]["path"] == "${DASHBOARDS}"
    [mount] = [Path(volume.split(":")[1]) for volume in COMPOSE["volumes"] if volume.startswith("./grafana:")]
    assert Path(COMPOSE["environment"]["DASHBOARDS"]) == mount / "dashboards"
    assert not provider["allowUiUpdates"]


def test_the_interval_that_panels_build_on_is_the_slowest_scrape() -> None:
    prometheus = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text())
    assert BY_UID["prometheus"]["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]


def test_nobody_is_admin_unasked_and_nothing_phones_home(ini: configparser.ConfigParser) -> None:
    assert (ini["auth.anonymous"]["enabled"], ini["auth.anonymous"]["org_role"]) == ("true", "Viewer")
    assert ini["users"]["allow_sign_up"] == "false"
    for name in ("reporting_enabled", "check_for_updates", "check_for_plugin_updates", "feedback_links_enabled"):
        assert ini["analytics"][name] == "false"
    assert ini["news"]["news_feed_enabled"] == "false"
    assert ini["plugins"]["preinstall_auto_update"] == "false"
    assert ini["security"]["disable_gravatar"] == "true"
    assert ini["snapshots"]["external_enabled"] == "false"
    assert "${GRAFANA_PASSWORD" in COMPOSE["environment"]["GF_SECURITY_ADMIN_PASSWORD"]
