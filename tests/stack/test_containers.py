"""Containers are broken and mended for a drill by a file laid over those that they were made from. A fake `docker`."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import yaml
from fastapi import FastAPI

from tests.support.serving import serving
from tools.base.errors import ToolError
from tools.base.files import ROOT
from tools.stack import containers
from tools.stack.containers import Containers

NAMES = (
    "service",
    "worker",
    "simulator",
    "otel-collector",
    "jaeger",
    "prometheus",
    "alertmanager",
    "redis",
    "postgres",
)
FILES = f"{ROOT}/docker-compose.yaml,/elsewhere/mine.yaml"
OF_BOTH = f"--file {ROOT}/docker-compose.yaml --file /elsewhere/mine.yaml"


class Fake:
    """A `docker` that knows containers, and writes down what it is told."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self.states = dict.fromkeys(NAMES, "running")
        self.hashes = dict.fromkeys(NAMES, "as-asked")
        self._port = port
        self.tell()

    def tell(self, says: str = "", code: int = 0) -> None:
        """How the containers are now, and how Docker answers orders."""
        entries = [
            {
                "Name": f"healthcare-{name}-1",
                "Service": name,
                "State": state,
                "Labels": f"com.docker.compose.config-hash={self.hashes[name]},com.docker.compose.project.config_files="
                f"{FILES},com.docker.compose.project.working_dir={ROOT}",
                "Publishers": [{"TargetPort": port, "PublishedPort": self._port} for port in (9090, 9093, 4317)],
            }
            for name, state in self.states.items()
        ]
        hashes = "".join(f"{name} as-asked\n" for name in NAMES)
        commands = {name: ["serve", "--traffic", "0.5"] for name in NAMES} | {"otel-collector": ["--config=a$b"]}
        answers = {"ps": "\n".join(map(json.dumps, entries)), "hashes": hashes, "commands": commands}
        program = self._folder / "docker"
        program.write_text(
            f"#!{sys.executable}\n"
            "import json, sys\n"
            f"answers = json.loads({json.dumps(json.dumps(answers))})\n"
            "words = sys.argv[1:]\n"
            "if words[:2] == ['compose', 'ps']: print(answers['ps'])\n"
            "elif words[0] == 'inspect': print(json.dumps({'Cmd': answers['commands'][words[-1][11:-2]], 'Env': []}))\n"
            "elif 'config' in words: print(answers['hashes'])\n"
            "else:\n"
            f"    calls = open({str(self._folder / 'calls')!r}, 'a')\n"
            "    print(*words, sys.stdin.read(), file=calls, flush=True)\n"
            f"    print({says!r}, file=sys.stderr); sys.exit({code})\n"
        )
        program.chmod(0o755)

    def told(self) -> list[str]:
        """The orders since the last look."""
        calls = self._folder / "calls"
        found = [line for line in calls.read_text().splitlines() if line] if calls.exists() else []
        calls.unlink(missing_ok=True)
        return [" ".join(line.split()) for line in found]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Fake]:
    """Makes one whose published ports are all this one."""
    monkeypatch.setattr(containers, "STATE", tmp_path / "state")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return lambda port: Fake(tmp_path, port)


@pytest.fixture
def docker(fake: Callable[[int], Fake]) -> Fake:
    return fake(21_000)


def overlay(stack: Containers) -> dict[str, object]:
    """What is laid over."""
    found: dict[str, object] = yaml.safe_load((stack.folder / "drill" / "compose.yaml").read_text())["services"]
    return found


@pytest.mark.usefixtures("docker")
def test_it_is_the_stack_of_the_containers_in_the_order_in_which_parts_are_stopped() -> None:
    stack = Containers()
    assert stack.names == NAMES
    assert (stack.store, stack.ports.prometheus, stack.ports.collector_grpc) == ("jaeger", 21_000, 21_000)
    assert stack.url("prometheus") == "http://127.0.0.1:21000"


def test_what_it_was_started_with_has_to_be_what_this_shell_says(docker: Fake) -> None:
    Containers().check()
    docker.hashes |= {"worker": "another", "redis": "another"}
    docker.tell()
    with pytest.raises(ToolError, match=r"^redis, worker run with other settings than this shell and the files say"):
        Containers().check()


def test_prometheus_and_alertmanager_get_the_drills_files_and_patients_are_silent(docker: Fake) -> None:
    stack = Containers()
    for name in ("prometheus", "alertmanager"):
        stack.prepare(name)
    (stack.folder / "drill").mkdir(mode=0o700)
    stack.reload("prometheus")
    folder = stack.folder
    assert overlay(stack) == {
        "prometheus": {
            "volumes": [
                f"{folder}/prometheus/prometheus.yml:/etc/prometheus/prometheus.yml:ro",
                f"{folder}/drill:{folder}/drill:ro",
            ]
        },
        "alertmanager": {"volumes": [f"{folder}/alertmanager/alertmanager.yml:/etc/alertmanager/alertmanager.yml:ro"]},
        "simulator": {"command": ["serve", "--traffic", "0"]},
    }
    files = f"{OF_BOTH} --file {folder}/drill/compose.yaml"
    assert docker.told() == [f"compose {files} up --detach --no-deps --wait prometheus alertmanager simulator"]
    assert (folder / "drill").stat().st_mode & 0o777 == 0o755


def test_once_they_have_them_they_are_told_to_load_them_again(fake: Callable[[int], Fake]) -> None:
    app, loaded = FastAPI(), []

    @app.post("/-/reload", status_code=200)
    def reload() -> None:
        loaded.append("again")

    with serving(app) as url:
        docker = fake(httpx.URL(url).port or 0)
        stack = Containers()
        for name in ("prometheus", "alertmanager"):
            stack.prepare(name)
            stack.reload(name)
    assert len(docker.told()) == 1
    assert loaded == ["again"]


def test_a_part_is_made_anew_with_what_it_is_to_have_beside_its_own_and_later_without(docker: Fake) -> None:
    docker.states["otel-collector"] = "exited"
    docker.tell()
    stack = Containers()
    stack.start("otel-collector", {"GOGC": "off"}, arguments=("--config", "yaml:a"))
    file = f"{OF_BOTH} --file {stack.folder}/drill/compose.yaml"
    assert overlay(stack) == {
        "otel-collector": {
            "command": ["--config=a$$b", "--config", "yaml:a"],
            "environment": {"GOGC": "off"},
            "extra_hosts": ["host.docker.internal:host-gateway"],
        }
    }
    stack.start("otel-collector")
    assert overlay(stack) == {}
    assert docker.told() == [f"compose {file} up --detach --no-deps --wait otel-collector"] * 2


def test_one_that_runs_is_not_started_and_one_that_goes_on_is_not_woken(docker: Fake) -> None:
    stack = Containers()
    stack.start("redis")
    stack.wake("redis")
    assert docker.told() == []
    docker.states["redis"] = "paused"
    docker.tell()
    assert stack.state("redis") == "paused"
    stack.wake("redis")
    assert docker.told() == [f"compose {OF_BOTH} unpause redis"]


def test_sql_goes_to_the_database_that_is_not_published(docker: Fake) -> None:
    Containers().execute("select 1", "select '$2'")
    assert docker.told() == [
        f"compose {OF_BOTH} exec -T postgres psql --username=healthcare --dbname=healthcare --set=ON_ERROR_STOP=1"
        " --quiet select 1;",
        "select '$2';",
    ]


def test_at_the_end_all_are_made_from_the_files_alone(docker: Fake) -> None:
    stack = Containers()
    stack.prepare("prometheus")
    stack.reload("prometheus")
    docker.told()
    stack.settle()
    assert docker.told() == [f"compose {OF_BOTH} up --detach --no-deps --wait {' '.join(NAMES)}"]
    assert not (stack.folder / "drill" / "compose.yaml").exists()


def test_what_docker_refuses_is_told_with_its_last_line(docker: Fake) -> None:
    stack = Containers()
    docker.tell(says="Container redis  Stopping\nError response from daemon: no", code=1)
    with pytest.raises(ToolError, match=r"^docker compose stop failed: Error response from daemon: no$"):
        stack.stop("redis")
