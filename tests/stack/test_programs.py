"""Programs are built once per user and content, and a build that fails says why."""

import threading
from pathlib import Path

import pytest
import yaml

from tools.base.errors import ToolError
from tools.stack import programs
from tools.stack.programs import Program, describe, ensure


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is built yet, and PATH has no Go program."""
    monkeypatch.setattr(programs, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/usr/bin:/bin")
    monkeypatch.delenv("PROGRAMS", raising=False)
    (tmp_path / "path").mkdir()
    on_path(tmp_path, "go", "go version go1.99.0 linux/amd64")
    return tmp_path / "cache"


def on_path(tmp_path: Path, name: str, says: str) -> Path:
    program = tmp_path / "path" / name
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    return program


def made_by(monkeypatch: pytest.MonkeyPatch, script: str) -> Program:
    program = Program("example", "1.2.3", ("example", "--version"), "result", (("sh", "-c", script),))
    monkeypatch.setitem(programs._PROGRAMS, "example", lambda: program)
    return program


def test_a_program_is_built_once_though_several_ask_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by(monkeypatch, f"echo built >> {tmp_path}/builds; sleep 0.2; echo done > {{folder}}/result")
    got: list[str] = []
    told: list[str] = []

    def ask() -> None:
        got.append(ensure("example", told.append).read_text())

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == ["done\n"] * 3
    assert (tmp_path / "builds").read_text() == "built\n"
    assert told.count("built") == 1
    assert told.count("waiting for another process that is doing the same") == 2


def test_a_failed_build_shows_the_end_of_its_log_and_leaves_nothing_half_done(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = made_by(monkeypatch, "echo half > {folder}/result; seq 1 100; echo the reason >&2; exit 7")
    with pytest.raises(ToolError) as failure:
        ensure("example")
    lines = str(failure.value).splitlines()
    log = empty_cache / "logs" / f"{program.key}.log"
    assert lines[0].startswith("example 1.2.3 could not be built: `sh -c echo half")
    assert lines[0].endswith(f"ended with 7. Its log: {log}, which ends with")
    assert lines[1:] == [*(f"  {number}" for number in range(87, 101)), "  the reason"]
    assert list((empty_cache / "programs").iterdir()) == []


def test_a_failed_build_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_by(monkeypatch, f"test -e {tmp_path}/repaired && echo done > {{folder}}/result")
    with pytest.raises(ToolError):
        ensure("example")
    (tmp_path / "repaired").touch()
    assert ensure("example").read_text() == "done\n"


def test_builds_do_not_depend_on_go_settings_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    made_by(monkeypatch, 'echo "$GOFLAGS|$GOTOOLCHAIN|$GOWORK|$CGO_ENABLED|$GOBIN" > {folder}/result')
    for name in ("GOFLAGS", "GOTOOLCHAIN", "GOWORK", "CGO_ENABLED", "GOBIN"):
        monkeypatch.setenv(name, "-mod=nonsense")
    set_ones = ensure("example").read_text().split("|")
    assert set_ones[:4] == ["-buildvcs=false -trimpath -gcflags=all=-dwarf=false", "local", "off", "0"]
    assert set_ones[4].endswith("/made\n")


@pytest.mark.parametrize("says", ["prometheus, version 3.16.0 (branch: HEAD)", "version v3.16.0"])
def test_a_program_on_path_at_the_pinned_version_is_used(tmp_path: Path, says: str) -> None:
    program = on_path(tmp_path, "prometheus", says)
    assert ensure("prometheus") == program


@pytest.mark.parametrize("says", ["prometheus, version 3.16.1", "13.16.0", "nothing of the kind"])
def test_another_version_on_path_is_not(tmp_path: Path, says: str) -> None:
    on_path(tmp_path, "prometheus", says)
    assert programs.on_path("prometheus") is None


@pytest.mark.parametrize("place", [".", "prometheus-3.16.0.linux-amd64", "prometheus v3/bin"])
def test_a_release_binary_in_the_folder_that_programs_names_is_used_before_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    folder = tmp_path / "given" / place
    folder.mkdir(parents=True)
    given = on_path(tmp_path, "prometheus", "prometheus, version 3.16.0").rename(folder / "prometheus")
    on_path(tmp_path, "prometheus", "prometheus, version 3.16.0")
    monkeypatch.setenv("PROGRAMS", str(tmp_path / "given"))
    assert ensure("prometheus").samefile(given)


def test_another_version_in_that_folder_is_not_used_but_what_is_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "given").mkdir()
    on_path(tmp_path, "prometheus", "prometheus, version 3.16.1").rename(tmp_path / "given" / "prometheus")
    right = on_path(tmp_path, "prometheus", "prometheus, version 3.16.0")
    monkeypatch.setenv("PROGRAMS", str(tmp_path / "given"))
    assert ensure("prometheus") == right


def test_a_folder_of_programs_that_is_none_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGRAMS", "/nowhere")
    with pytest.raises(ToolError, match=r"^PROGRAMS=/nowhere is no folder$"):
        ensure("prometheus")


@pytest.mark.parametrize(("version", "used"), [("1.26.7", False), ("1.26.8", True), ("1.27.0", True), ("2.0.0", True)])
def test_go_on_path_is_used_if_it_is_new_enough(tmp_path: Path, version: str, used: bool) -> None:
    program = on_path(tmp_path, "go", f"go version go{version} linux/amd64")
    assert programs.on_path("go") == (program if used else None)


def test_tempo_is_taken_from_path_only() -> None:
    with pytest.raises(ToolError, match=r"^tempo 3\.0\.3 is not on PATH, and cannot be built from a Go module$"):
        ensure("tempo")


def test_the_collector_is_built_anew_if_its_components_change_but_not_for_a_comment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = programs.BUILDER.read_text()
    key = describe("otelcol").key
    copy = tmp_path / "builder.yaml"
    monkeypatch.setattr(programs, "BUILDER", copy)
    copy.write_text(f"# another clone\n{text}")
    assert describe("otelcol").key == key
    config = yaml.safe_load(text)
    config["exporters"].pop()
    copy.write_text(yaml.safe_dump(config))
    assert describe("otelcol").key != key


def test_a_changed_lock_of_a_go_module_means_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = describe("jaeger").key
    (tmp_path / "jaeger").mkdir()
    for name in ("go.mod", "go.sum"):
        (tmp_path / "jaeger" / name).write_bytes((programs.GO_FILES / "jaeger" / name).read_bytes())
    monkeypatch.setattr(programs, "GO_FILES", tmp_path)
    assert describe("jaeger").key == key
    with (tmp_path / "jaeger" / "go.sum").open("a") as file:
        file.write("more\n")
    assert describe("jaeger").key != key


def test_a_broken_builder_file_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "BUILDER", tmp_path / "builder.yaml")
    (tmp_path / "builder.yaml").write_text("dist: [")
    with pytest.raises(ToolError, match=r"^what otelcol is built from cannot be read: ParserError: "):
        ensure("otelcol")


def test_what_only_a_few_tests_need_is_no_part_of_a_first_start(tmp_path: Path) -> None:
    assert not set(programs.SCALE) & set(programs.STANDARD)
    assert programs.built("helm") is None
    helm = on_path(tmp_path, "helm", f"v{programs.HELM}")
    assert programs.built("helm") == helm


def test_a_program_that_is_built_is_found_without_building(monkeypatch: pytest.MonkeyPatch) -> None:
    made_by(monkeypatch, "echo done > {folder}/result")
    assert programs.built("example") is None
    made = ensure("example")
    assert programs.built("example") == made


def test_every_version_is_the_one_of_its_module() -> None:
    modules = {name: (programs.GO_FILES / name / "go.mod").read_text() for name in ("jaeger", "compose")}
    assert "github.com/jaegertracing/jaeger v1.76.0 " in modules["jaeger"]  # which calls itself 2.13.0
    assert f"github.com/docker/compose/v5 v{programs.COMPOSE} " in modules["compose"]
    assert f"\ngo {programs.GO_OLDEST}\n" in modules["compose"]
    assert f"\ngo-bin=={programs.GO} " in (programs.GO_FILES / "requirements.txt").read_text()
    kubernetes = (programs.GO_FILES / "kubernetes" / "go.mod").read_text()
    assert f"\tk8s.io/kubernetes v{programs.KUBERNETES} " in kubernetes
    assert f"\tgo.etcd.io/etcd/server/v3 v{programs.ETCD} " in kubernetes
    assert f"\tgithub.com/thanos-io/thanos v{programs.THANOS} " in (programs.GO_FILES / "thanos" / "go.mod").read_text()
    operator = "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring"
    assert f"{operator} v{programs.OPERATOR}\n" in (programs.GO_FILES / "crds" / "go.mod").read_text()
    major, minor, patch = programs.PROMETHEUS.split(".")
    assert f"v0.{major}{minor}.{patch}" == programs.PROMETHEUS_MODULE
