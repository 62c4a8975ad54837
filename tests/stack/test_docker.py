"""Verbs find the system of this checkout where Docker runs it. A fake `docker` answers as Compose 5 does."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tools.base.errors import ToolError
from tools.base.files import ROOT
from tools.stack import docker, stack
from tools.stack.where import COMPONENT, in_docker, store, where

WITHIN = {
    "service": 8000, "worker": 0, "simulator": 8085, "otel-collector": 8889, "prometheus": 9090,
    "alertmanager": 9093, "grafana": 3000, "tempo": 3200, "postgres": 0,
}  # fmt: skip
SETTINGS = {
    "service": ["WEBHOOK_SECRET=from=.env", "PATH=/bin"],
    "grafana": ["GF_SECURITY_ADMIN_PASSWORD=secret"],
    "simulator": [],
}

Fake = Callable[..., Path]


def entry(name: str, folder: Path = ROOT, state: str = "running", **more: object) -> dict[str, object]:
    """A container as `docker compose ps --format json` prints it; published 10 000 ports above its own."""
    port = WITHIN.get(name, 0)
    return {
        "Name": f"healthcare-{name}-1",
        "Service": name,
        "State": state,
        "Health": "healthy" if state == "running" else "",
        "ExitCode": 0,
        "Labels": f"a=b,com.docker.compose.project.working_dir={folder},com.docker.compose.version=5.6.0",
        "Publishers": [
            {"URL": "127.0.0.1", "TargetPort": port, "PublishedPort": port + 10_000 if port else 0, "Protocol": "tcp"}
        ],
    } | more


def lines(*entries: dict[str, object]) -> str:
    return "\n".join(json.dumps(one) for one in entries)


EVERYTHING = [entry(name) for name in WITHIN]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Puts a `docker` on the PATH that prints these containers; returns the file with how it was called."""
    monkeypatch.setattr(stack, "STATE", tmp_path / "state")
    for name in [name for name in os.environ if name.endswith(("_URL", "_PORT"))]:
        monkeypatch.delenv(name)

    def put(ps: str, *, stderr: str = "", code: int = 0, command: tuple[str, ...] = ()) -> Path:
        answers = {"ps": ps, "stderr": stderr, "code": code, "env": SETTINGS, "cmd": command}
        program = tmp_path / "bin" / "docker"
        program.parent.mkdir()
        program.write_text(
            f"#!{sys.executable}\n"
            "import json, os, sys\n"
            f"answers = json.loads({json.dumps(json.dumps(answers))})\n"
            "words = sys.argv[1:]\n"
            f"with open({str(tmp_path / 'calls')!r}, 'a') as calls: print(*words, file=calls)\n"
            "if words[:2] == ['compose', 'ps']:\n"
            "    print(answers['ps']); print(answers['stderr'], file=sys.stderr); sys.exit(answers['code'])\n"
            "if words[0] == 'inspect':\n"
            "    name = words[-1].split('-')[1]\n"
            "    print(json.dumps({'Env': answers['env'][name], 'Cmd': answers['cmd']}))\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
        return tmp_path / "calls"

    return put


def clinic(*words: str, tmp_path: Path) -> tuple[int, str]:
    """The verb in a process of its own, which knows of no stack of processes."""
    begin = f"import sys; from pathlib import Path; from tools import cli; from tools.stack import stack; \
stack.STATE = Path({str(tmp_path / 'state')!r}); sys.argv[1:] = {list(words)!r}; sys.exit(cli.main())"
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'service'}", "COLUMNS": "200"}
    run = subprocess.run(
        [sys.executable, "-c", begin], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    return run.returncode, run.stdout + run.stderr


def asked(calls: Path) -> list[str]:
    """What Docker was told to do, beside what it was asked for."""
    return [line for line in calls.read_text().splitlines() if not line.startswith(("compose ps", "inspect"))]


def test_parts_are_reached_at_the_ports_that_containers_publish(fake: Fake) -> None:
    fake(lines(*EVERYTHING))
    assert {name: where(name) for name, port in WITHIN.items() if port and name != "otel-collector"} == {
        name: f"http://127.0.0.1:{port + 10_000}" for name, port in WITHIN.items() if port and name != "otel-collector"
    }
    assert docker.url("otel-collector") == "http://127.0.0.1:18889/metrics"


def test_of_a_pair_of_prometheus_who_answers_for_both_is_asked(fake: Fake) -> None:
    published = [{"URL": "127.0.0.1", "TargetPort": 10902, "PublishedPort": 19090, "Protocol": "tcp"}]
    pair = [entry(name, Publishers=[]) for name in ("prometheus", "prometheus-2")]
    fake(lines(*pair, entry("thanos-query", Publishers=published)))
    assert where("prometheus") == "http://127.0.0.1:19090"


def test_a_list_as_older_compose_prints_it_is_the_same(fake: Fake) -> None:
    fake(json.dumps(EVERYTHING))
    assert where("prometheus") == "http://127.0.0.1:19090"


def test_the_environment_goes_before_containers(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(lines(*EVERYTHING))
    monkeypatch.setenv("PROMETHEUS_URL", "http://prometheus.example")
    assert where("prometheus") == "http://prometheus.example"


def test_a_folder_with_a_comma_is_this_checkout_too(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "clinic, north"
    folder.mkdir()
    monkeypatch.setattr(docker, "ROOT", folder)
    fake(lines(*(entry(name, folder=folder) for name in WITHIN)))
    assert where("prometheus") == "http://127.0.0.1:19090"


def test_containers_of_another_checkout_are_nobody(fake: Fake, tmp_path: Path) -> None:
    fake(lines(*(entry(name, folder=tmp_path) for name in WITHIN)))
    assert not in_docker()
    with pytest.raises(ToolError, match=r"^prometheus of this clone is not running: make up or docker compose up -d,"):
        where("prometheus")


@pytest.mark.parametrize("answer", [{"ps": ""}, {"ps": "", "code": 1, "stderr": "Cannot connect to the Docker daemon"}])
def test_without_containers_or_an_engine_nothing_runs(fake: Fake, answer: dict[str, str]) -> None:
    fake(**answer)
    with pytest.raises(ToolError, match=r"^prometheus of this clone is not running"):
        where("prometheus")


def test_an_engine_that_refuses_this_user_is_not_taken_for_none(fake: Fake) -> None:
    fake("", code=1, stderr="permission denied while trying to connect to the Docker daemon socket")
    with pytest.raises(ToolError, match=r"^Docker may run this stack, and does not answer you: permission denied"):
        where("prometheus")


def test_a_part_that_is_stopped_is_named_with_how_to_start_it(fake: Fake) -> None:
    fake(lines(entry("service"), entry("prometheus", state="exited")))
    with pytest.raises(ToolError, match=r"^prometheus is not running in Docker: docker compose up -d prometheus"):
        where("prometheus")


def test_traces_are_asked_of_the_store_in_use(fake: Fake) -> None:
    fake(lines(*EVERYTHING))
    assert store() == "tempo"


def test_where_jaegers_profile_was_asked_for_it_is_the_store(fake: Fake) -> None:
    publishers = [{"URL": "127.0.0.1", "TargetPort": 16686, "PublishedPort": 26686, "Protocol": "tcp"}]
    fake(lines(*EVERYTHING, entry("jaeger", Publishers=publishers)))
    assert (store(), where("jaeger")) == ("jaeger", "http://127.0.0.1:26686")


def test_verbs_offer_the_components_that_there_are(fake: Fake) -> None:
    fake(lines(*EVERYTHING))
    assert [COMPONENT.convert(name, None, None) for name in WITHIN] == list(WITHIN)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("dead",), "compose exec -T worker python -m app.admin dead"),
        (("replay",), "compose exec -T worker python -m app.admin replay"),
        (("erase", "5511999990000"), "compose exec -T worker python -m app.admin erase -- 5511999990000"),
        (("logs",), "compose logs --tail 10"),
        (("logs", "worker"), "compose logs --tail 100 worker"),
        (("restart", "otel-collector"), "compose restart otel-collector"),
        (
            ("silence", "HighErrorRate", "--for", "2h", "--why", "deploy"),
            "compose exec -T alertmanager amtool --alertmanager.url=http://127.0.0.1:9093 silence add --duration=2h "
            "--comment=deploy alertname=HighErrorRate",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_done_inside_is_done_by_compose(fake: Fake, tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    calls = fake(lines(*EVERYTHING))
    assert clinic(*words, tmp_path=tmp_path)[0] == 0
    assert asked(calls) == [told]


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        (("up",), "docker compose up -d"),
        (("down",), "docker compose down"),
        (("run", "env"), "docker compose exec service"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_verb_that_containers_do_not_allow_says_what_to_do_instead(
    fake: Fake, tmp_path: Path, words: tuple[str, ...], instead: str
) -> None:
    calls = fake(lines(*EVERYTHING))
    code, said = clinic(*words, tmp_path=tmp_path)
    assert (code, asked(calls)) == (1, [])
    assert "the system runs in Docker: " in said
    assert instead in said


def test_status_shows_every_container_stopped_ones_too(fake: Fake, tmp_path: Path) -> None:
    once = [entry(name, state="exited") for name in docker.ONCE]
    fake(lines(entry("service"), entry("worker", state="exited", ExitCode=137), *once))
    code, said = clinic("status", tmp_path=tmp_path)
    rows = {line.split()[0]: line.split()[1:] for line in said.splitlines()[1 : len(once) + 3]}
    assert code == 0
    assert rows == {
        **{name: ["done"] for name in docker.ONCE},
        "service": ["running", "healthy", "http://127.0.0.1:18000"],
        "worker": ["exited"],
    }


@pytest.mark.parametrize(
    ("traffic", "compared"), [(("--traffic", "0.5"), False), (("--traffic", "0"), True), ((), True)]
)
def test_a_load_is_compared_where_nobody_else_writes(fake: Fake, traffic: tuple[str, ...], compared: bool) -> None:
    fake(lines(*EVERYTHING), command=traffic)
    assert docker.own_traffic() is not compared


def test_a_load_is_sent_with_the_secret_that_the_service_was_started_with(fake: Fake, tmp_path: Path) -> None:
    secrets: list[str | None] = []

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            secrets.append(self.headers["X-Webhook-Secret"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        port = [{"URL": "127.0.0.1", "TargetPort": 8000, "PublishedPort": server.server_port, "Protocol": "tcp"}]
        others = [one for one in EVERYTHING if one["Service"] != "service"]
        fake(lines(entry("service", Publishers=port), *others), command=("--traffic", "0.5"))
        code, said = clinic("load", "--messages", "3", "--everyday", "--seed", "1", tmp_path=tmp_path)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert code == 0, said
    assert "Not compared with Prometheus: the simulator writes too" in said
    assert set(secrets) <= {"from=.env", "wrong"}
    assert "from=.env" in secrets
