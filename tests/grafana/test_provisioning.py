"""What Grafana is given at its start fits the dashboards, the stack and the promise to phone nobody."""

import configparser
import json
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
TRACES = {
    f"/d/{one['uid']}": one
    for file in (FOLDER / "dashboards" / "traces").glob("*.json")
    for one in [json.loads(file.read_text())]
}
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
    assert destination["name"] == "trace_id"
    path, _, query = destination["url"].partition("?")
    assert path.replace("${TRACE_STORE}", "tempo") in TRACES
    assert path.replace("${TRACE_STORE}", "jaeger") in TRACES
    assert query == "$${__url_time_range}&var-trace=$${__value.raw}"  # a dollar doubled is Grafana's when it is clicked
    assert "datasourceUid" not in destination  # Explore, which wants a sign-in
    assert re.fullmatch(r"\$\{TRACE_STORE:-(\w+)\}", COMPOSE["environment"]["TRACE_STORE"])[1] in BY_UID  # type: ignore[index]
    for store in ("tempo", "jaeger"):
        assert BY_UID[store]["jsonData"]["tracesToMetrics"]["datasourceUid"] == "prometheus"


@pytest.mark.parametrize("store", ["tempo", "jaeger"])
def test_a_trace_is_shown_without_explore_and_the_search_below_it_leads_there_again(store: str) -> None:
    dashboard = TRACES[f"/d/trace-{store}"]
    trace, table = dashboard["panels"]
    assert (trace["type"], table["type"]) == ("traces", "table")
    assert {
        one["uid"] for panel in (trace, table) for one in (panel["datasource"], panel["targets"][0]["datasource"])
    } == {store}
    assert trace["targets"][0]["query"] == "$trace"
    assert dashboard["templating"]["list"][0]["type"] == "textbox"
    [link] = table["fieldConfig"]["overrides"][0]["properties"][0]["value"]
    assert link["url"].startswith(f"/d/trace-{store}?${{__url_time_range}}&")
    assert link["url"].endswith("var-trace=${__value.raw}")
    assert "/explore" not in json.dumps(dashboard)
    assert (dashboard["schemaVersion"], dashboard["time"]["from"], dashboard["links"][0]["keepTime"]) == (
        42,
        "now-1h",
        True,
    )


def test_the_search_in_tempo_follows_the_lane_and_shows_lane_and_status() -> None:
    query = TRACES["/d/trace-tempo"]["panels"][1]["targets"][0]["query"]
    assert 'span.lane=~"${lane:regex}"' in query
    assert query.endswith("| select(span.lane, span.status)")


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
