"""What fly.io is told fits to what is shipped, as far as that can be seen without Fly."""

import re
import socket
import subprocess
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from app.settings import Settings
from tests.support.settings import documented, offered
from tools.base.wait import until
from tools.stack.ports import Ports
from tools.stack.programs import ROOT, ensure

FOLDER = ROOT / "deploy" / "fly"
APPS: dict[str, dict[str, Any]] = {
    name: tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8")) for name in ("service", "worker", "collector")
}
COLLECTOR = APPS["collector"]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text("utf-8"))["services"]
YAML = (ROOT / "otel-collector" / "config.yaml").read_text("utf-8")
DEFAULTS = dict(re.findall(r"\$\{env:(\w+):-([^}]+)\}", YAML))
USUAL = Ports()
DOCKERFILE = (ROOT / "service" / "Dockerfile").read_text("utf-8")


def test_all_files_of_the_folder_are_looked_at() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.toml" for name in APPS} | {"collector.Dockerfile"}


@pytest.mark.parametrize("name", ["service", "worker"])
def test_our_images_are_built_from_the_shipped_file(name: str) -> None:
    build = APPS[name]["build"]
    assert (FOLDER / build["dockerfile"]).resolve() == ROOT / "service" / "Dockerfile"
    assert build["build-target"] == COMPOSE[name]["build"]["target"]
    assert set(build) == {"dockerfile", "build-target"}


def test_the_collector_is_that_of_compose_with_the_shipped_files() -> None:
    instructions = (FOLDER / COLLECTOR["build"]["dockerfile"]).read_text("utf-8").splitlines()
    assert [line for line in instructions if not line.startswith("#")] == [
        f"FROM {COMPOSE['otel-collector']['image']}",
        "USER 0",
    ]
    files = {one["guest_path"]: ROOT / one["local_path"] for one in COLLECTOR["files"]}
    assert files == {
        "/etc/otel-collector/config.yaml": ROOT / "otel-collector" / "config.yaml",
        "/etc/otel-collector/extras.yaml": ROOT / "otel-collector" / "extras.yaml",
    }
    assert COLLECTOR["experimental"]["cmd"] == [f"--config={path}" for path in files]
    (mount,) = COLLECTOR["mounts"]
    assert DEFAULTS["QUEUE_DIRECTORY"].startswith(mount["destination"] + "/")


def test_flys_prometheus_scrapes_the_collector_and_nobody_else() -> None:
    assert [name for name, one in APPS.items() if "metrics" in one] == ["collector"]
    assert COLLECTOR["metrics"] == [
        {"port": USUAL.collector_derived, "path": "/metrics"},
        {"port": USUAL.collector_own, "path": "/metrics"},
    ]


def test_nothing_of_collector_and_worker_is_reachable_from_outside() -> None:
    assert [name for name, one in APPS.items() if "services" in one or "http_service" in one] == ["service"]


def test_the_webhooks_port_is_the_images() -> None:
    web = DOCKERFILE.partition(" AS web\n")[2].partition("\nFROM ")[0]
    assert f'"--port", "{APPS["service"]["http_service"]["internal_port"]}"' in web
    (check,) = APPS["service"]["http_service"]["checks"]
    assert f"'GET', '{check['path']}'" in web


@pytest.mark.parametrize("name", ["service", "worker"])
def test_only_settings_that_are_no_secrets_are_written_down(name: str) -> None:
    assert set(APPS[name]["env"]) <= documented() - offered("secrets")
    fields = {key.lower(): value for key, value in APPS[name]["env"].items() if key.lower() in Settings.model_fields}
    Settings(database_url="postgresql://a@b/c", webhook_secret="x", **fields)


def test_addresses_lead_to_ports_of_the_collectors_app() -> None:
    urls = [value for one in ("service", "worker") for value in APPS[one]["env"].values() if COLLECTOR["app"] in value]
    expected = {USUAL.collector_grpc, USUAL.collector_derived, USUAL.collector_health}
    assert {urlsplit(url).port for url in urls} == expected
    assert {urlsplit(url).hostname for url in urls} == {f"{COLLECTOR['app']}.internal"}


def test_the_collector_has_the_variables_of_compose_and_the_usual_ports_on_ipv6() -> None:
    env = COLLECTOR["env"]
    there = COMPOSE["otel-collector"]["environment"]
    for name in ("MEMORY_LIMIT_MIB", "GOMEMLIMIT", "GOGC"):
        assert env[name] == str(there[name])
    for name, default in DEFAULTS.items():
        if default.startswith("0.0.0.0"):
            assert env[name] == default.replace("0.0.0.0", "[::]")
        if re.match(r"(http://)?[a-z]+:\d+", default):
            assert re.fullmatch(r"(http://)?clinic-\w+\.internal:\d+(/.*)?", env[name])
    assert COLLECTOR["checks"]["health"]["port"] == USUAL.collector_health


def test_every_app_is_stopped_by_the_signal_that_flushes_and_has_time_for_it() -> None:
    for name, one in APPS.items():
        assert one["kill_signal"] == "SIGTERM"
        assert int(one["kill_timeout"].removesuffix("s")) >= 15, name


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_the_collector_listens_on_ipv6_where_fly_asks(tmp_path: Path) -> None:
    """With the variables of collector.toml, on other ports."""
    free = Ports.free()
    moved = {
        str(getattr(USUAL, name)): str(getattr(free, name))
        for name in ("collector_grpc", "collector_http", "collector_derived", "collector_health")
    }
    env = {
        name: re.sub(r"(?<=^\[::\]:)\d+$", lambda port: moved[port[0]], value)
        for name, value in COLLECTOR["env"].items()
    }
    env |= {"QUEUE_DIRECTORY": str(tmp_path / "queue"), "SELF_METRICS_PORT": str(free.collector_own)}
    words = [f"--config={ROOT / one['local_path']}" for one in COLLECTOR["files"]]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([ensure("otelcol"), *words], env=env, stdout=log, stderr=log)
    try:
        with httpx.Client(trust_env=False, timeout=10) as client:

            def answers(url: str) -> bool:
                try:
                    return client.get(url).status_code == httpx.codes.OK
                except httpx.TransportError:
                    return False

            for port, path in (
                (free.collector_health, "/"),
                (free.collector_derived, "/metrics"),
                (free.collector_own, "/metrics"),
            ):
                until(lambda url=f"http://[::1]:{port}{path}": answers(url), f"{port}{path} answers", 60)  # type: ignore[misc]
        with socket.create_connection(("::1", free.collector_grpc), timeout=10):
            pass
    finally:
        process.terminate()
        process.wait()
