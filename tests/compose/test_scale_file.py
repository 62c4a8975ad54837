"""docker-compose.scale.yaml lays a pair of Prometheus over the first file: nothing else differs, all promises hold."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.compose import test_compose_file as one
from tests.compose.conftest import ROOT, Model, Read
from tools.stack import programs
from tools.stack.ports import Ports

OWNERS = {"collector-queue-owner", "bucket-owner"}
COLLECTORS = ("otel-collector", "otel-collector-2", "otel-collector-3")
PROMETHEUS = ("prometheus", "prometheus-2")
ALERTMANAGERS = ("alertmanager", "alertmanager-2", "alertmanager-3")
THANOS = ("thanos-sidecar", "thanos-sidecar-2", "thanos-store", "thanos-query")
COPIES = {name: names[0] for names in (COLLECTORS, PROMETHEUS, ALERTMANAGERS) for name in names[1:]}
NEW = {*COPIES, *THANOS, "bucket-owner"}
EVERY = sorted({*one.EVERY, *NEW})
CLUSTER = [f"--cluster.peer={name}:9094" for name in ALERTMANAGERS]


@pytest.fixture(scope="session")
def scaled(read_both: Read) -> dict[str, Model]:
    """What `docker compose` with both files would start, by name."""
    found: dict[str, Model] = read_both({})["services"]
    return found


def changed(before: Model, after: Model) -> set[str]:
    """The keys whose values differ."""
    return {key for key in {*before, *after} if before.get(key) != after.get(key)}


def test_what_differs_from_one_machine_is_named_here_and_nothing_else_does(
    services: dict[str, Model], scaled: dict[str, Model]
) -> None:
    assert set(scaled) == set(EVERY)
    assert {name: changed(services[name], scaled[name]) for name in services if services[name] != scaled[name]} == {
        "otel-collector": {"command", "networks"},
        "collector-queue-owner": {"command", "volumes"},
        "collector-guard": {"depends_on", "healthcheck"},
        "prometheus": {"command", "entrypoint", "environment", "ports", "tmpfs"},
        "alertmanager": {"command"},
        "grafana": {"environment"},
        "service": {"deploy", "environment", "ports"},
        "worker": {"deploy", "environment"},
    }


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_as_its_first_but_for_its_data_and_that_it_is_not_published(
    name: str, scaled: dict[str, Model]
) -> None:
    first = scaled[COPIES[name]]
    assert changed(first, scaled[name]) <= {"volumes", "ports", "environment"}
    assert "ports" not in scaled[name]
    assert one.mounts(scaled[name], "bind") == one.mounts(first, "bind")
    [data] = one.mounts(scaled[name], "volume")
    [theirs] = one.mounts(first, "volume")
    assert (data["target"], data["source"]) == (theirs["target"], f"{theirs['source']}-{name[-1]}")
    mine, others = scaled[name]["environment"], first["environment"]
    assert changed(mine, others) == ({"REPLICA"} if name in PROMETHEUS else set())


def test_a_command_says_all_that_it_said_before(services: dict[str, Model], scaled: dict[str, Model]) -> None:
    words = {name: (services[name]["command"], scaled[name]["command"]) for name in ("prometheus", "alertmanager")}
    before, after = words["prometheus"]
    blocks = [f"--storage.tsdb.{edge}-block-duration=2h" for edge in ("min", "max")]
    assert sorted(after) == sorted([*before[1:], *blocks, "--config.file=/run/pair/prometheus.yml"])
    before, after = words["alertmanager"]
    assert after == [*before[:-1], "--cluster.listen-address=0.0.0.0:9094", *CLUSTER]
    config, extras = services["otel-collector"]["command"]
    assert scaled["otel-collector"]["command"] == [config, "--config=/etc/otel-collector/pair.yaml", extras]
    (shell, option, script, word), (*same, longer, last) = (it["prometheus"]["entrypoint"] for it in (services, scaled))
    assert [shell, option, word] == [*same, last]
    assert longer.endswith(f"|| exit 1; {script}")


def test_what_is_made_for_the_pair_is_what_prometheus_takes(scaled: dict[str, Model], tmp_path: Path) -> None:
    script = scaled["prometheus"]["entrypoint"][2].partition(" || ")[0]
    local = script.replace("/etc/prometheus", str(ROOT / "prometheus")).replace("/run/pair", str(tmp_path))
    subprocess.run(["sh", "-c", local], check=True)
    made = tmp_path / "prometheus.yml"
    made.write_text(made.read_text().replace("/etc/prometheus", str(ROOT / "prometheus")))
    checked = subprocess.run(
        [programs.ensure("promtool"), "check", "config", str(made)], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    files = {path for pattern in one.PROMETHEUS["rule_files"] for path in (ROOT / "prometheus").glob(pattern)}
    assert f"SUCCESS: {len(files)} rule files found" in checked.stdout
    pair, shipped = yaml.safe_load(made.read_text()), one.PROMETHEUS
    assert pair["global"].pop("external_labels") == {"replica": "${REPLICA}", "notify": "${NOTIFY}"}
    shipped_labels = shipped["global"]["external_labels"]
    assert shipped_labels == {"notify": "${NOTIFY}"}
    assert pair["global"] == {key: value for key, value in shipped["global"].items() if key != "external_labels"}
    assert pair["alerting"].pop("alert_relabel_configs") == [{"regex": "replica", "action": "labeldrop"}]
    assert pair["rule_files"] == [f"{ROOT / 'prometheus'}/{name}" for name in shipped["rule_files"]]
    assert targets(pair) == {
        "otel-collector-derived": [f"{name}:8889" for name in COLLECTORS],
        "otel-collector": [f"{name}:8888" for name in COLLECTORS],
        "prometheus": [f"{name}:9090" for name in PROMETHEUS],
        "alertmanager": [f"{name}:9093" for name in ALERTMANAGERS],
    }
    [receivers] = pair["alerting"]["alertmanagers"]
    assert receivers["static_configs"][0]["targets"] == [f"{name}:9093" for name in ALERTMANAGERS]
    for job, theirs in zip(pair["scrape_configs"], shipped["scrape_configs"], strict=True):
        assert changed(job, theirs) == {"static_configs"}


def targets(config: dict[str, Any]) -> dict[str, list[str]]:
    """What each job scrapes."""
    return {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}


def test_what_is_pushed_goes_to_both_in_the_same_way() -> None:
    ours = yaml.safe_load((ROOT / "otel-collector" / "pair.yaml").read_text())
    theirs = yaml.safe_load(one.COLLECTOR)
    second, first = ours["exporters"]["otlp_http/second"], theirs["exporters"]["otlp_http/prometheus"]
    assert changed(first, second) == {"endpoint"}
    assert second["endpoint"].endswith(":-http://prometheus-2:9090/api/v1/otlp}")
    pipeline = theirs["service"]["pipelines"]["metrics/otlp"]["exporters"]
    assert ours["service"] == {"pipelines": {"metrics/otlp": {"exporters": ours_after(pipeline)}}}
    assert set(ours) == {"exporters", "service"}
    assert set(ours["exporters"]) == {"otlp_http/second"}


def ours_after(exporters: list[str]) -> list[str]:
    """The same with the second after the first."""
    at = exporters.index("otlp_http/prometheus") + 1
    return [*exporters[:at], "otlp_http/second", *exporters[at:]]


def test_thanos_is_what_the_tests_run_and_knows_both_prometheus_and_the_bucket(scaled: dict[str, Model]) -> None:
    assert {scaled[name]["image"] for name in THANOS} == {f"quay.io/thanos/thanos:v{programs.THANOS}"}
    assert {scaled[name]["user"] for name in THANOS} == {"nobody"}  # as Prometheus' image, whose blocks they read
    query = scaled["thanos-query"]["command"]
    assert [word for word in query if "endpoint" in word] == [f"--endpoint={name}:10901" for name in THANOS[:3]]
    assert {word for word in query if "replica" in word} == {
        f"--query.replica-label={label}" for label in ("replica", *one.PROMETHEUS["global"]["external_labels"])
    }
    for sidecar, prometheus in zip(THANOS, PROMETHEUS, strict=False):
        assert f"--prometheus.url=http://{prometheus}:9090" in scaled[sidecar]["command"]
        data = {mount["source"] for mount in one.mounts(scaled[sidecar], "volume")}
        assert data == {prometheus, "bucket"}
    assert {scaled[name]["environment"]["REPLICA"] for name in PROMETHEUS} == {"1", "2"}


def test_people_grafana_and_the_service_ask_query(scaled: dict[str, Model]) -> None:
    published = {name: [port["target"] for port in scaled[name].get("ports", ())] for name in (*PROMETHEUS, *THANOS)}
    assert {name: ports for name, ports in published.items() if ports} == {"thanos-query": [10902]}
    [port] = scaled["thanos-query"]["ports"]
    assert (port["host_ip"], int(port["published"])) == ("127.0.0.1", Ports().prometheus)
    assert scaled["grafana"]["environment"]["PROMETHEUS_URL"] == "http://thanos-query:10902"
    assert scaled["service"]["environment"]["PROMETHEUS_QUERY_URL"] == "http://thanos-query:10902"


def test_service_and_worker_run_twice_and_send_to_any_collector(scaled: dict[str, Model]) -> None:
    for name in ("service", "worker"):
        assert scaled[name]["deploy"]["replicas"] == 2
        assert scaled[name]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == f"http://{one.ALIAS}:4317"
    [ports] = scaled["service"]["ports"]
    assert (ports["host_ip"], ports["published"]) == ("127.0.0.1", "8000-8001")
    for name in COLLECTORS:
        assert scaled[name]["networks"]["default"]["aliases"] == [one.ALIAS]


def test_every_volume_of_a_program_that_does_not_run_as_root_is_given_to_it(scaled: dict[str, Model]) -> None:
    for owner, users in (("collector-queue-owner", COLLECTORS), ("bucket-owner", THANOS[:3])):
        _, account, *folders = scaled[owner]["command"]
        given = {mount["source"]: mount["target"] for mount in one.mounts(scaled[owner], "volume")}
        assert sorted(given.values()) == sorted(folders)
        assert account == ("10001:10001" if users is COLLECTORS else "65534:65534")
        used = {mount["source"] for name in users for mount in one.mounts(scaled[name], "volume")}
        assert set(given) == used - {"prometheus", "prometheus-2"}


def test_a_stop_waits_for_the_last_scrape_of_all_collectors(scaled: dict[str, Model]) -> None:
    assert set(scaled["collector-guard"]["depends_on"]) == {*COLLECTORS, *PROMETHEUS}
    [_, script] = scaled["collector-guard"]["healthcheck"]["test"]
    assert f"for one in {' '.join(COLLECTORS)}; do wget -Y off " in script


@pytest.mark.parametrize("name", EVERY)
def test_every_promise_of_the_first_file_holds(name: str, scaled: dict[str, Model]) -> None:
    limits = dict(scaled[name])
    assert limits["read_only"] is True
    assert limits["cap_drop"] == ["ALL"]
    assert limits.get("cap_add", []) == (["CHOWN"] if name in OWNERS else [])
    assert limits.get("user", "the image's") != "root" or name in OWNERS
    one.test_a_container_has_limits(name, scaled)
    one.test_what_is_waited_for_can_come_true(name, scaled)
    one.test_a_stop_gives_time_to_flush_and_a_crash_is_repaired(name, scaled)


@pytest.mark.parametrize("name", sorted(NEW))
def test_health_of_what_is_new_is_checked_where_it_can_be(name: str, scaled: dict[str, Model]) -> None:
    check = scaled[name].get("healthcheck")
    assert (check is None) == (name in {*COLLECTORS, *OWNERS})
    if name in THANOS:
        assert check
        assert check["test"][:4] == ["CMD", "wget", "-Y", "off"]  # BusyBox' knows no no_proxy
        assert {"interval", "timeout", "retries", "start_period", "start_interval"} <= set(check)
