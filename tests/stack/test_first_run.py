"""First runs on machines that are not ours: any folder, any locale, nothing writable; docs/first-runs.md is a table."""

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest

from simulator import entry
from tests.support.clones import copy
from tools import cli
from tools.base.errors import ToolError
from tools.base.files import ROOT
from tools.stack import databases as embedded
from tools.stack import processes, programs, rendered, stack
from tools.stack.ports import Ports
from tools.stack.processes import Component
from tools.stack.stack import Stack

FOLDERS = [
    "Clínica do João/obs 1",
    'it\'s "quoted"',
    "100 %41",
    "a #b ?c",
    "$HOME ${x} `y`",
    "a, b",
    "[x] & y;z",
    "a+b",
]
CLINIC = (sys.executable, "-m", "tools.cli")
RULE_FILES = len([ROOT / "prometheus" / "prometheus-alerts.yaml", *(ROOT / "prometheus" / "rules").glob("*.yaml")])
LATIN = "en_US.ISO-8859-1"


@pytest.fixture(params=FOLDERS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    made = tmp_path / str(request.param)
    made.mkdir(parents=True)
    return made


@pytest.fixture
def databases(folder: Path) -> Iterator[Stack]:
    made = Stack(folder / ".state", Ports.free(), store="jaeger")
    yield made
    made.remove()


async def test_both_drivers_reach_postgresql_whatever_its_folder_is_called(databases: Stack) -> None:
    databases.start("postgres")
    connection = await asyncpg.connect(databases.url("postgres"))
    assert await connection.fetchval("select 1") == 1
    await connection.close()
    with psycopg.connect(databases.url("postgres")) as other:
        assert other.execute("select 1").fetchone() == (1,)


def test_the_sockets_address_is_percent_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "postgres_home", lambda folder: folder)
    url = embedded.postgres_url(Path("/srv/Clínica do João/obs 1"))
    assert url == "postgresql://healthcare@/healthcare?host=/srv/Cl%C3%ADnica%20do%20Jo%C3%A3o/obs%201/run&port=5432"


def test_prometheus_and_alertmanager_find_their_files_whatever_their_folder_is_called(folder: Path) -> None:
    for name in ("prometheus", "alertmanager"):
        shutil.copytree(ROOT / name, folder / name)
    target = folder / "rendered"
    rendered.render_prometheus(folder / "prometheus" / "prometheus.yml", target / "prometheus.yml", Ports())
    rendered.render_alertmanager(
        folder / "alertmanager" / "alertmanager.yml", target / "alertmanager.yml", Ports(), folder / "secrets"
    )
    checked = subprocess.check_output(
        (programs.ensure("promtool"), "check", "config", target / "prometheus.yml"), encoding="utf-8"
    )
    assert re.findall(r"SUCCESS: (\d+) rule files found", checked) == [str(RULE_FILES)]
    amtool = (programs.ensure("amtool"), "check-config", target / "alertmanager.yml")
    seen = subprocess.check_output(amtool, encoding="utf-8")
    assert "1 templates" in seen


def test_the_collectors_queue_is_in_its_folder_whatever_that_is_called(databases: Stack) -> None:
    databases.start("otel-collector")
    assert (databases.folder / "otel-collector" / "queue" / "exporter_otlp_grpc__traces").exists()


def test_a_folder_that_prometheus_cannot_take_is_refused_with_the_reason(tmp_path: Path) -> None:
    source = tmp_path / "a*b" / "prometheus.yml"
    source.parent.mkdir()
    source.write_text("{scrape_configs: [], alerting: {alertmanagers: []}, rule_files: [rules/*.yaml]}", "utf-8")
    with pytest.raises(ToolError, match=r"^Prometheus takes no folder with a \* in its name: rename .*/a\*b$"):
        rendered.render_prometheus(source, tmp_path / "prometheus.yml", Ports())


# Locales


@pytest.fixture(scope="module")
def latin(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment whose locale is Latin-1, made for the test."""
    if not shutil.which("localedef"):
        pytest.skip("no localedef to make a Latin-1 locale with")
    folder = tmp_path_factory.mktemp("locales")
    subprocess.run(("localedef", "-i", "en_US", "-f", "ISO-8859-1", folder / LATIN), check=True, capture_output=True)
    return {"LOCPATH": str(folder), "LC_ALL": LATIN}


def said(command: list[str], environment: dict[str, str]) -> bytes:
    plain = {name: text for name, text in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    run = subprocess.run([*CLINIC, *command], cwd=ROOT, env=plain | environment, capture_output=True)
    assert (run.returncode, run.stderr) == (0, b"")
    return run.stdout


@pytest.mark.parametrize("verb", [(), *((verb,) for verbs in cli.SECTIONS.values() for verb in verbs)])
def test_every_verb_prints_on_an_ascii_terminal(verb: tuple[str, ...]) -> None:
    said([*verb, "--help"], {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}).decode("ascii")


@pytest.mark.parametrize("mode", [{}, {"PYTHONUTF8": "1"}], ids=["as python has it", "as make sets it"])
def test_a_latin_1_terminal_gets_latin_1(latin: dict[str, str], mode: dict[str, str]) -> None:
    text = said(["check"], latin | mode)
    assert text.startswith(b"? all agree")  # a tick
    assert not {b"\xc3", b"\xe2"} & set(text)


@pytest.mark.parametrize("name", FOLDERS[:3])
def test_the_command_runs_from_everywhere_whatever_its_folder_is_called(
    latin: dict[str, str], tmp_path: Path, name: str
) -> None:
    folder = copy(tmp_path / name)
    for environment in ({}, latin):
        plain = {key: text for key, text in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHON"))}
        command = (folder / ".venv" / "bin" / "clinic", "check", "--json")
        assert subprocess.check_output(command, cwd="/", env=plain | environment) == b"[]\n"


@pytest.mark.parametrize(("ending", "code"), [(">&-", 0), ("| head -1", 0), ("> /dev/full", 1)])
def test_what_is_printed_may_go_nowhere(ending: str, code: int) -> None:
    command = f"{sys.executable} -m tools.cli drill {ending}"
    run = subprocess.run(("bash", "-c", command), cwd=ROOT, stderr=subprocess.PIPE, encoding="utf-8")
    assert (run.returncode, run.stderr) == (code, "cli: No space left on device\n" if code else "")


def test_a_terminal_that_the_user_names_is_believed() -> None:
    assert "✓".encode() in said(["check"], {"PYTHONIOENCODING": "utf-8", "LC_ALL": "C"})
    assert "✓".encode() not in said(["check"], {"PYTHONIOENCODING": "latin-1"})


def test_a_component_runs_in_utf_8_whatever_the_locale(latin: dict[str, str], tmp_path: Path) -> None:
    code = "import sys; print(sys.flags.utf8_mode, sys.stdout.encoding)"
    process = processes.start(Component("one", (sys.executable, "-c", code), lambda: True, latin), tmp_path)
    process.wait()
    assert processes.log_file(tmp_path, "one").read_text("utf-8").splitlines()[1:] == ["1 utf-8"]


def test_words_are_understood_alike_in_every_locale(latin: dict[str, str]) -> None:
    asked = ascii("Quais são os horários de atendimento?")  # the command line itself is read by the locale
    reading = f"from app.conversation.lanes import classify; print(ascii(classify({asked})))"
    answers = {
        subprocess.check_output(
            [sys.executable, "-c", reading],
            env=os.environ | environment | {"PYTHONPATH": str(ROOT / "service"), "PYTHONHASHSEED": "0"},
        )
        for environment in (latin | {"PYTHONUTF8": "0"}, {"PYTHONUTF8": "1"})
    }
    assert len(answers) == 1


# Nothing writable


def test_a_cache_that_cannot_be_made_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(programs, "cache_folder", lambda: tmp_path / "file" / "cache")
    with pytest.raises(ToolError) as failure:
        programs.made_once(programs.cache_folder() / "programs" / "one", lambda _: None)
    assert str(failure.value) == (
        f"the folder of built programs cannot be used: {tmp_path}/file/cache/locks: Not a directory. "
        "Make it writable, or set XDG_CACHE_HOME to a folder that is (root's is always in /var/cache)"
    )


def test_a_full_disk_while_building_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "cache_folder", lambda: tmp_path)

    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "otelcol"))

    with pytest.raises(ToolError, match=r"cannot be used: .*/made/otelcol: No space left on device\. Make it"):
        programs.made_once(tmp_path / "programs" / "one", full)
    assert list((tmp_path / "programs").iterdir()) == []


def test_without_a_home_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    monkeypatch.setattr(Path, "home", nobody)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(ToolError, match=r"^nobody knows your home folder: set HOME, or XDG_CACHE_HOME"):
        programs.cache_folder()


def test_a_state_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(stack, "STATE", tmp_path / "file" / "state")
    with pytest.raises(SystemExit, match="1"):
        entry.run(lambda: cli.run(["up"]))
    assert capsys.readouterr().err.endswith(f": {tmp_path}/file/state/choices.json: Not a directory\n")


def test_whose_it_is_is_said_where_permission_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    error = PermissionError(errno.EACCES, "Permission denied", "/etc/no/such")
    assert entry.refusal(error) == "/etc/no/such: Permission denied (/etc belongs to root)"
    error.filename = "/etc"
    assert entry.refusal(error) == "/etc: Permission denied (it belongs to root)"
