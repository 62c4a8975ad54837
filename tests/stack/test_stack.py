"""What `make up` and its relatives promise, shown on cheap processes."""

import io
import json
import os
import re
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import yaml
from rich.console import Console

from tools.base.errors import ToolError
from tools.base.wait import until
from tools.cli import run
from tools.stack import components, processes, programs, stack
from tools.stack.ports import Ports, holder
from tools.stack.processes import Component
from tools.stack.progress import print_addresses
from tools.stack.rendered import render_alertmanager, render_prometheus
from tools.stack.stack import STOP_ORDER, Stack


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Stack]:
    """A stack whose simulator cannot start: Python finds no library there."""
    made = Stack(tmp_path / "state", Ports.free(), {"simulator": {"PYTHONHOME": str(tmp_path)}}, store="jaeger")
    yield made
    made.remove()


def python(code: str, name: str = "example") -> Component:
    return Component(name, (sys.executable, "-c", code), ready=lambda: False)


def record(made: Stack, name: str, process: subprocess.Popen[bytes], *, seconds_earlier: float = 0.0) -> None:
    """As if the stack had started this process."""
    started = psutil.Process(process.pid).create_time() - psutil.boot_time() - seconds_earlier
    file = made.folder / "run" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"pid": process.pid, "started": started, "stop_signal": 15, "stop_seconds": 5}))


def test_a_taken_port_is_named_with_who_needs_it_who_has_it_and_what_to_do(small: Stack) -> None:
    with socket.create_server(("127.0.0.1", small.ports.redis)), pytest.raises(ToolError) as failure:
        small.up(only=["redis"])
    port = small.ports.redis
    name = psutil.Process().name()
    assert str(failure.value) == (
        f"port {port}, which redis needs, is taken by {name} (pid {os.getpid()}): "
        f"stop it, or choose another port: REDIS_PORT={port + 1000} make up"
    )


def test_what_is_left_of_closed_connections_takes_no_port(small: Stack) -> None:
    server = socket.create_server(("127.0.0.1", small.ports.redis))
    client = socket.create_connection(server.getsockname())
    accepted, _ = server.accept()
    for end in (accepted, client, server):  # the server's side first: its port is in TIME_WAIT
        end.close()
    assert holder(small.ports.redis) is None


def test_ports_come_from_the_environment_and_a_wrong_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_PORT", "9191")
    assert Ports.from_environment() == Ports(prometheus=9191)
    monkeypatch.setenv("PROMETHEUS_PORT", "tcp://10.0.0.1:9090")
    with pytest.raises(ToolError, match=r"^PROMETHEUS_PORT=tcp://10\.0\.0\.1:9090 is no port$"):
        Ports.from_environment()


def test_free_ports_are_all_different() -> None:
    ports = vars(Ports.free()).values()
    assert len(set(ports)) == len(ports)


def test_a_dead_component_is_noticed_and_its_last_words_of_this_run_are_shown(tmp_path: Path) -> None:
    log = processes.log_file(tmp_path, "example")
    log.parent.mkdir()
    log.write_text("an earlier run\n")
    part = python("import sys; sys.exit('the reason')")
    process = processes.start(part, tmp_path)
    with pytest.raises(ToolError) as failure:
        processes.wait_ready(part, process, tmp_path)
    assert str(failure.value) == f"example died. Its log: {log}, which ends with\n  the reason"
    process.wait()


def test_a_component_that_is_not_ready_in_time_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    part = python("import time; print('still busy', flush=True); time.sleep(60)")
    process = processes.start(part, tmp_path)
    until(lambda: "busy" in processes.log_file(tmp_path, "example").read_text(), "its first word")
    with pytest.raises(ToolError, match=r"example was not ready after 0 s.*\n  still busy$"):
        processes.wait_ready(part, process, tmp_path, deadline=0.0)
    processes.kill(process)
    process.wait()


def test_asking_whether_a_component_is_ready_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded(*_: object, **__: object) -> None:
        pytest.fail(
            "all certificates were loaded, 50 ms of CPU each time, while all that starts waits for the processor"
        )

    monkeypatch.setattr(ssl, "create_default_context", loaded)
    assert not processes.answers(f"http://127.0.0.1:{Ports.free().service}/health")


def test_a_missing_program_is_one_line(tmp_path: Path) -> None:
    part = Component("example", ("/nowhere/program",), ready=lambda: True)
    with pytest.raises(ToolError, match=r"^example cannot be started: .*No such file.*/nowhere/program'$"):
        processes.start(part, tmp_path)


def test_when_one_fails_nothing_of_it_is_left_running(small: Stack) -> None:
    with pytest.raises(ToolError, match=r"^simulator died\."):
        small.up(only=["redis", "simulator"])
    assert [small.state(name) for name in small.names] == ["not running"] * len(small.names)
    assert holder(small.ports.redis) is None


def test_a_second_up_leaves_what_runs_alone_and_another_stack_object_finds_it(small: Stack) -> None:
    small.up(only=["redis"])
    pid = small.pid("redis")
    again = Stack(small.folder, small.ports, store="jaeger")
    again.up(only=["redis"])
    assert again.pid("redis") == pid


def test_a_crash_is_told_apart_from_a_stop(small: Stack) -> None:
    small.up(only=["redis"])
    pid = small.pid("redis")
    assert pid is not None
    psutil.Process(pid).kill()
    until(lambda: small.state("redis") == "died", "the crash to be noticed")
    small.start("redis")
    assert small.state("redis") == "running"
    small.stop("redis")
    assert small.state("redis") == "not running"


def test_a_process_that_got_a_recycled_pid_is_not_ours_and_is_not_killed(small: Stack) -> None:
    with subprocess.Popen(("sleep", "60")) as stranger:
        record(small, "redis", stranger, seconds_earlier=5)
        assert small.pid("redis") is None
        small.stop("redis")
        small.kill("redis")
        assert stranger.poll() is None
        stranger.kill()


def test_down_stops_senders_first_then_waits_for_the_last_counts_and_stops_databases_last(small: Stack) -> None:
    processes = [subprocess.Popen(("sleep", "60")) for _ in small.names]
    for name, process in zip(small.names, processes, strict=True):
        record(small, name, process)
    told: list[str] = []
    small.down(drain_seconds=0, report=lambda name, state: told.append(f"{name} {state}"))
    names = [name for name in STOP_ORDER if name in small.names]
    expected = [f"{name} {state}" for name in names for state in ("stopping", "stopped")]
    expected.insert(6, "otel-collector waiting 0 s for the last counts")
    assert told == expected
    assert names[:3] == ["service", "worker", "simulator"]
    assert names[-2:] == ["redis", "postgres"]
    assert [process.wait(1) for process in processes] == [-15] * len(processes)


def test_secrets_are_made_once_and_are_readable_by_us_only(small: Stack) -> None:
    small.make_folder()
    environment = small.service_environment()
    small.up(only=["redis"])
    assert {name: small.service_environment()[name] for name in environment} == environment
    assert len(environment["WEBHOOK_SECRET"]) >= 32
    for name in ("secrets.json", "service.env"):
        assert stat.S_IMODE((small.folder / name).stat().st_mode) == 0o600
    assert f"WEBHOOK_SECRET={environment['WEBHOOK_SECRET']}\n" in (small.folder / "service.env").read_text()


def test_a_component_gets_what_is_added_to_its_environment(tmp_path: Path) -> None:
    added = {"simulator": {"OF_THE_STACK": "1", "BOTH": "1"}, "service": {"OTHER": "1"}}
    made = Stack(tmp_path, Ports.free(), added, store="jaeger")
    made.start("simulator", {"OF_THIS_START": "2", "BOTH": "2"}, wait=False)
    names = ("OF_THE_STACK", "BOTH", "OF_THIS_START", "OTHER")
    try:
        simulator = psutil.Process(made.pid("simulator"))
        until(lambda: "OF_THIS_START" in simulator.environ(), "the child has become the simulator")
        assert [simulator.environ().get(name) for name in names] == ["1", "2", "2", None]
    finally:
        made.remove()


def test_ctrl_c_while_starting_leaves_nothing(small: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "is_ready", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small.up(only=["redis"])
    assert small.state("redis") == "not running"


def test_commands_that_need_the_stack_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stack, "STATE", tmp_path / "state")
    for words in (["run", "--", "true"], ["load"], ["dead"], ["replay"], ["erase", "5511999990000"], ["logs"]):
        assert run(words) == 1
    assert run(["logs", "redi"]) == 2
    assert run(["down"]) == 0
    said = capfd.readouterr()
    told = said.err.splitlines()
    assert told[:6] == [*["clinic: nothing is running: make up"] * 5, "clinic: there are no logs yet: make up"]
    assert told[-1].endswith("there is no component redi; did you mean redis or worker?")
    assert said.out == "Nothing is running.\n"
    assert not (tmp_path / "state").exists()


def test_prometheus_runs_on_the_repositorys_file_with_loopback_addresses(tmp_path: Path) -> None:
    ports = Ports.free()
    source = programs.ROOT / "prometheus" / "prometheus.yml"
    render_prometheus(source, tmp_path / "prometheus.yml", ports)
    rendered = yaml.safe_load((tmp_path / "prometheus.yml").read_text())
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in rendered["scrape_configs"]}
    assert targets == {
        "otel-collector-derived": [f"127.0.0.1:{ports.collector_derived}"],
        "otel-collector": [f"127.0.0.1:{ports.collector_own}"],
        "prometheus": [f"127.0.0.1:{ports.prometheus}"],
        "alertmanager": [f"127.0.0.1:{ports.alertmanager}"],
    }
    [told] = rendered["alerting"]["alertmanagers"]
    assert told == {"static_configs": [{"targets": [f"127.0.0.1:{ports.alertmanager}"]}]}
    original = yaml.safe_load(source.read_text())
    for config in (rendered, original):
        for job in config["scrape_configs"] + config["alerting"]["alertmanagers"]:
            del job["static_configs"]
    files = [str(source.parent / pattern) for pattern in original["rule_files"]]
    assert rendered == original | {"rule_files": files}


def test_rule_files_are_found_from_the_rendered_place(tmp_path: Path) -> None:
    source = tmp_path / "prometheus.yml"
    source.write_text("scrape_configs: []\nalerting: {alertmanagers: []}\nrule_files: [rules/*.yaml]\n")
    render_prometheus(source, tmp_path / "elsewhere" / "prometheus.yml", Ports())
    rendered = yaml.safe_load((tmp_path / "elsewhere" / "prometheus.yml").read_text())
    assert rendered["rule_files"] == [str(tmp_path / "rules" / "*.yaml")]


def test_alertmanager_runs_on_the_repositorys_file_with_loopback_addresses_and_absolute_paths(tmp_path: Path) -> None:
    ports = Ports.free()
    source = programs.ROOT / "alertmanager" / "alertmanager.yml"
    render_alertmanager(source, tmp_path / "alertmanager.yml", ports, tmp_path / "secrets")
    text = source.read_text().replace("http://simulator:8085", f"http://127.0.0.1:{ports.simulator}")
    original = yaml.safe_load(text.replace("/run/secrets/", f"{tmp_path}/secrets/"))
    template = tmp_path / "healthcare.tmpl"
    assert yaml.safe_load((tmp_path / "alertmanager.yml").read_text()) == original | {"templates": [str(template)]}
    shipped = (source.parent / "templates" / "healthcare.tmpl").read_text()
    assert "http://127.0.0.1:3000" in shipped
    assert template.read_text() == shipped.replace("127.0.0.1:3000", f"127.0.0.1:{ports.grafana}")


def test_a_stack_notifies_nobody_unless_it_is_given_the_secrets(tmp_path: Path) -> None:
    (tmp_path / "slack-url").write_text("http://127.0.0.1:9")
    (tmp_path / "README.md").write_text("")
    assert components.switched_on(None) == []
    assert components.switched_on(tmp_path) == ["slack"]
    assert Stack(tmp_path / "state").receivers is None


GRAFANA = f"""#!{sys.executable}
import http.server, json, os, sys
if sys.argv[1:] == ["--version"]:
    sys.exit("grafana version {programs.GRAFANA}")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()
        self.wfile.write(json.dumps([sys.argv[1:], dict(os.environ)]).encode())
http.server.HTTPServer(("127.0.0.1", int(os.environ["GF_SERVER_HTTP_PORT"])), Handler).serve_forever()
"""


def test_a_grafana_on_the_path_is_started_with_the_addresses_of_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "installed"
    (folder / "bin").mkdir(parents=True)
    (folder / "conf").mkdir()
    (folder / "conf" / "defaults.ini").touch()
    (folder / "bin" / "grafana").write_text(GRAFANA)
    (folder / "bin" / "grafana").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    made = Stack(tmp_path / "state", Ports.free(), store="jaeger")
    made.start("grafana")
    try:
        answer = httpx.get(f"{made.url('grafana')}/api/health", trust_env=False)
        arguments, environment = answer.json()
        password = json.loads((tmp_path / "state" / "secrets.json").read_text())["GRAFANA_PASSWORD"]
    finally:
        made.remove()
    files = programs.ROOT / "grafana"
    assert arguments == ["server", "--homepath", str(folder), "--config", str(files / "grafana.ini")]
    sources = (files / "provisioning" / "datasources" / "datasources.yaml").read_text()
    wanted = set(re.findall(r"(?<!\$)\$\{(\w+)\}", sources)) | {"DASHBOARDS"}
    assert wanted <= environment.keys()
    assert environment["TRACE_STORE"] == "jaeger"
    for name in ("prometheus", "alertmanager", "jaeger"):
        assert environment[f"{name.upper()}_URL"] == made.url(name)
    assert environment["GF_SECURITY_ADMIN_PASSWORD"] == password


def test_a_target_that_only_compose_knows_is_named(tmp_path: Path) -> None:
    source = tmp_path / "prometheus.yml"
    source.write_text("{alerting: {alertmanagers: []}, scrape_configs: [{static_configs: [{targets: ['new:1']}]}]}")
    with pytest.raises(ToolError, match=r"is known here of 'new:1'; tools/stack/rendered\.py has the list"):
        render_prometheus(source, tmp_path / "out.yml", Ports())


@pytest.mark.parametrize("rendered", [False, True], ids=["as compose loads it", "as make up loads it"])
def test_promtool_accepts_the_configuration(tmp_path: Path, rendered: bool) -> None:
    file = programs.ROOT / "prometheus" / "prometheus.yml"
    if rendered:
        render_prometheus(file, tmp_path / "prometheus.yml", Ports())
        file = tmp_path / "prometheus.yml"
    check = (programs.ensure("promtool"), "check", "config", "--lint=all", "--lint-fatal", file)
    run = subprocess.run(check, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("names", [("jaeger",), ("tempo", "grafana")])
def test_up_tells_where_to_look_grafana_first_where_there_is_one(names: tuple[str, ...]) -> None:
    console = Console(record=True, file=io.StringIO())
    print_addresses(console, lambda name: f"http://{name}", names)
    told = re.findall(r"http://([\w-]+)", console.export_text())
    assert told == [*names[1:], "service", "service", "otel-collector", "prometheus", names[0]]
