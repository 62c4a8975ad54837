"""service/Dockerfile keeps its promises: nobody's root, locked packages only, the layout that the code expects."""

import json
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

import app.observability.contract
from tests.compose.conftest import ROOT, Model
from tools.stack import components
from tools.stack.ports import HOST, Ports

TARGETS = {"web": "service", "worker": "worker", "simulator": "simulator"}  # and the service that runs it


def _stages() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """By name: what a stage starts from, and its instructions."""
    text = re.sub(r"^#.*\n", "", (ROOT / "service" / "Dockerfile").read_text(), flags=re.MULTILINE)
    stages: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            start, _, name = rest.partition(" AS ")
            stages[name] = (start, [])
        elif instruction:
            stages[name][1].append((instruction, rest))
    return stages


STAGES = _stages()


def instructions(stage: str, wanted: str) -> list[str]:
    """Those of a stage and of what it starts from, in order."""
    start, own = STAGES[stage]
    inherited = instructions(start, wanted) if start in STAGES else []
    return inherited + [rest for instruction, rest in own if instruction == wanted]


def copied() -> set[str]:
    """All that is taken from the checkout."""
    copies = [
        rest.split() for _, own in STAGES.values() for name, rest in own if name == "COPY" and "--from" not in rest
    ]
    return {source for *sources, _ in copies for source in sources}


def packages(lock: str) -> dict[str, str]:
    """The lines of each package of a lock."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    found = re.findall(r"^([a-z0-9-]+)==(\S+.*?)(?=^[a-z0-9-]+==|\Z)", text, re.MULTILINE | re.DOTALL)
    assert len(found) == len(re.findall(r"^\S+==", text, re.MULTILINE))
    return dict(found)


def test_all_stages_start_from_one_pinned_python_that_the_project_supports() -> None:
    assert {start for start, _ in STAGES.values()} - set(STAGES) == {STAGES["base"][0]}
    version = re.fullmatch(r"python:3\.(\d+)-slim-[a-z]+", STAGES["base"][0])
    oldest = re.search(r'^requires-python = ">=3\.(\d+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert oldest
    assert int(version[1]) >= int(oldest[1])


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_runs_as_root(target: str) -> None:
    assert instructions(target, "USER") == ["10001:10001"]


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_written_at_run_time(target: str) -> None:
    environment = " ".join(instructions(target, "ENV"))
    assert "PYTHONDONTWRITEBYTECODE=1" in environment
    assert "HOME=/tmp" in environment
    assert instructions(target, "VOLUME") == []


def test_packages_are_installed_from_locks_with_hashes_and_as_wheels_only() -> None:
    installs = [rest for stage in STAGES for rest in instructions(stage, "RUN") if "pip" in rest]
    assert len(installs) == 2
    assert all("--require-hashes --only-binary :all: -r /tmp/" in install for install in installs)


@pytest.mark.parametrize("lock", ["service", "worker"])
def test_every_package_of_a_lock_has_hashes(lock: str) -> None:
    assert [name for name, lines in packages(lock).items() if "--hash=sha256:" not in lines] == []


def test_mem0_is_in_the_workers_image_only() -> None:
    assert {target: instructions(target, "COPY")[0] for target in TARGETS} == {
        "web": "--from=web-packages /opt/venv /opt/venv",
        "worker": "--from=worker-packages /opt/venv /opt/venv",
        "simulator": "--from=web-packages /opt/venv /opt/venv",
    }
    assert instructions("web-packages", "COPY") == ["requirements/service.txt /tmp/"]
    assert instructions("worker-packages", "COPY") == ["requirements/worker.txt /tmp/"]
    assert {"mem0ai", "psycopg"} <= packages("worker").keys() - packages("service").keys()


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == copied()
    assert all((ROOT / source).exists() for source in copied())
    assert [rule for rule in rules[1:] if not rule.startswith("!")] == ["**/__pycache__", "**/*.md"]
    assert not [path for path in (ROOT / "service" / "app").rglob("*") if fnmatch(path.name, ".env*")]


def test_the_code_finds_the_contract_where_it_looks_for_it() -> None:
    assert {"otel-collector/metrics.yaml otel-collector/", "service/app service/app"} <= set(
        instructions("service-code", "COPY")
    )
    assert app.observability.contract.PATH == ROOT / "otel-collector" / "metrics.yaml"
    module = Path(app.observability.contract.__file__).relative_to(ROOT)
    assert (Path("/srv") / module).parents[3] == Path("/srv")
    for target in ("web", "worker"):
        assert instructions(target, "WORKDIR") == ["/srv"]
        assert "PYTHONPATH=/srv/service" in " ".join(instructions(target, "ENV"))
        assert instructions(target, "COPY")[1] == "--from=service-code /srv /srv"


def test_the_same_commands_run_as_without_docker() -> None:
    web = components.service(Ports(), {}).command
    inside = ["0.0.0.0" if word == HOST else word for word in web[web.index("uvicorn") :]]
    assert json.loads(instructions("web", "CMD")[0]) == inside
    worker = components.worker(ROOT, {}).command
    assert json.loads(instructions("worker", "CMD")[0]) == ["python", *worker[1:]]


def test_health_is_asked_at_the_port_that_is_served(services: dict[str, Model]) -> None:
    ports = {}
    for target in set(TARGETS) - {"worker"}:
        for check in instructions(target, "HEALTHCHECK"):
            ports[target] = re.findall(r"HTTPConnection\('127.0.0.1', (\d+)\)", check)
            assert instructions(target, "EXPOSE") == ports[target]
    [worker] = instructions("worker", "HEALTHCHECK")  # it has none; its heartbeat is a file
    assert "HEARTBEAT_FILE=/tmp/heartbeat" in instructions("worker", "ENV")
    assert "os.stat('/tmp/heartbeat').st_mtime > 60" in worker
    assert ports == {"web": ["8000"], "simulator": ["8085"]}
    assert {port["target"] for port in services["service"]["ports"]} == {8000}
    assert services["simulator"]["command"][:4] == json.loads(instructions("simulator", "CMD")[0])[:4]
