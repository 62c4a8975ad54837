"""A dashboard goes from Grafana's page into the repository and stays what it is; what cannot be loaded is refused."""

import base64
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.support.serving import serving
from tools.base.errors import ToolError
from tools.cli import run as clinic
from tools.commands.dashboards import FOLDER, fetch, format_all, keep, normal, read

TOKEN, PASSWORD = "glsa_a-token", "a password"
UID = "healthcare-backend"

Json = dict[str, Any]


@dataclass
class Grafana:
    """Answers as Grafana's API documents."""

    url: str = ""
    saved: dict[str, Json] = field(default_factory=dict)

    def answer(self, request: Request) -> Response:
        """GET /api/dashboards/uid/<uid>."""
        basic = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
        if request.headers.get("authorization") not in (f"Bearer {TOKEN}", f"Basic {basic}"):
            return JSONResponse({"message": "Unauthorized", "messageId": "auth.unauthorized"}, 401)
        uid = request.path_params["uid"]
        if uid == "a-v2-one":
            return JSONResponse({"message": "dashboard api version not supported, use /apis/… instead"}, 406)
        if uid == "a-page":
            return PlainTextResponse("<html>", 200)
        if uid == "ill":
            return JSONResponse({"message": "database is locked"}, 500)
        if uid not in self.saved:
            return JSONResponse({"message": "Dashboard not found"}, 404)
        return JSONResponse({"dashboard": self.saved[uid], "meta": {"provisioned": True, "version": 7}})


@pytest.fixture
def grafana(monkeypatch: pytest.MonkeyPatch) -> Iterator[Grafana]:
    """One that has our dashboard, signed in to by token."""
    grafana = Grafana()
    with serving(Starlette(routes=[Route("/api/dashboards/uid/{uid}", grafana.answer)])) as url:
        grafana.url = url
        grafana.saved[UID] = shipped() | {"id": 12, "version": 7}
        monkeypatch.setenv("GRAFANA_URL", url)
        monkeypatch.setenv("GRAFANA_TOKEN", TOKEN)
        yield grafana


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of ours."""
    shutil.copytree(FOLDER, tmp_path / "dashboards")
    return tmp_path / "dashboards"


def shipped(name: str = "grafana-dashboard.json") -> Json:
    """One of ours."""
    found: Json = json.loads((FOLDER / name).read_text("utf-8"))
    return found


def run(folder: Path, *arguments: str) -> int:
    """The command on a copy."""
    return clinic(["dashboards", *arguments, "--folder", str(folder)])


def test_the_files_in_the_repository_are_in_normal_form() -> None:
    files = sorted(FOLDER.glob("*.json"))
    assert [path.name for path in files if normal(read(path)) != path.read_text("utf-8")] == []
    assert len(files) == 2


def test_what_nobody_changed_stays_the_same_to_the_byte(grafana: Grafana, folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.glob("*.json")}
    grafana.saved[UID]["panels"][1]["pluginVersion"] = "13.2.3"
    grafana.saved[UID]["templating"]["list"][0]["current"] = {"text": "Prometheus", "value": "PBFA97CFB590B2093"}
    assert run(folder, "pull") == 0
    assert {path.name: path.read_bytes() for path in folder.glob("*.json")} == before


def test_what_was_edited_and_nothing_else_comes_back(grafana: Grafana, folder: Path) -> None:
    grafana.saved[UID]["panels"][1]["title"] = "Répondre"
    assert run(folder, "pull", UID) == 0
    wanted = shipped()
    wanted["panels"][1]["title"] = "Répondre"
    path = folder / "grafana-dashboard.json"
    assert json.loads(path.read_text("utf-8")) == wanted
    assert "Répondre" in path.read_text("utf-8")
    assert normal(read(path)) == path.read_text("utf-8")


def test_a_copy_saved_under_another_name_comes_back_as_ours(grafana: Grafana, folder: Path) -> None:
    copy = shipped() | {"id": 99, "uid": "adxyz", "title": "Healthcare Backend Copy", "refresh": "10s"}
    grafana.saved["adxyz"] = copy
    assert run(folder, "pull", "adxyz", "--as", UID) == 0
    assert json.loads((folder / "grafana-dashboard.json").read_text("utf-8")) == shipped() | {"refresh": "10s"}


def test_a_copy_of_nobody_knows_what_is_asked_for_and_nothing_is_written(
    grafana: Grafana, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grafana.saved["adxyz"] = shipped() | {"uid": "adxyz"}
    assert run(folder, "pull", "adxyz") == 1
    told = capsys.readouterr().err
    assert told == (
        "clinic: none of ours has the uid adxyz; say whose copy it is: AS=healthcare-backend or AS=otel-collector\n"
    )
    assert len(list(folder.glob("*.json"))) == 2


@pytest.mark.parametrize("wrapped", ["bare", "api", "v1"])
def test_an_export_is_taken_as_each_of_grafanas_drawers_writes_it(wrapped: str, folder: Path, tmp_path: Path) -> None:
    edited = shipped("otel-collector.json") | {"refresh": "10s", "id": 4}
    v1 = {"apiVersion": "dashboard.grafana.app/v1beta1", "kind": "Dashboard", "metadata": {"name": edited["uid"]}}
    forms = {
        "bare": edited,
        "api": {"dashboard": edited, "meta": {}},
        "v1": v1 | {"spec": {key: value for key, value in edited.items() if key != "uid"}},
    }
    export = tmp_path / "export.json"
    export.write_text(json.dumps(forms[wrapped]), "utf-8")
    assert run(folder, "pull", "--file", str(export)) == 0
    path = folder / "otel-collector.json"
    assert json.loads(path.read_text("utf-8")) == shipped("otel-collector.json") | {"refresh": "10s"}


V2 = [
    {"apiVersion": "dashboard.grafana.app/v2beta1", "kind": "Dashboard", "spec": {"elements": {}}},
    {"apiVersion": "dashboard.grafana.app/v2", "kind": "Dashboard", "spec": {}},
    {"elements": {}, "layout": {}, "title": "Healthcare Backend"},
]


@pytest.mark.parametrize("data", V2, ids=["v2beta1", "v2", "bare"])
def test_an_export_in_the_v2_format_is_refused_with_what_to_choose(
    data: Json, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = tmp_path / "export.json"
    export.write_text(json.dumps(data), "utf-8")
    assert run(folder, "pull", "--file", str(export), "--as", UID) == 1
    told = capsys.readouterr().err
    assert "this is a dashboard in the V2 format: choose the model Classic when exporting" in told
    assert json.loads((folder / "grafana-dashboard.json").read_text("utf-8")) == shipped()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "a JSON object was expected"),
        ({"title": "a", "uid": "b"}, "it has no panels, schemaVersion"),
        (shipped() | {"__inputs": []}, "switch off “Share dashboard with another instance”"),
    ],
)
def test_what_is_no_dashboard_of_ours_is_refused(data: object, words: str) -> None:
    with pytest.raises(ToolError, match=words):
        normal(data)


@pytest.mark.parametrize(
    ("uid", "words"),
    [
        ("nix", "Grafana has no dashboard with the uid nix"),
        ("a-v2-one", "a-v2-one was saved in the V2 format"),
        ("a-page", "answers 200 without JSON: is that Grafana?"),
        ("ill", "Grafana answers 500: database is locked"),
    ],
)
def test_what_grafana_does_not_give_is_told_in_a_line(
    uid: str, words: str, grafana: Grafana, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert grafana.url
    assert run(folder, "pull", uid, "--as", UID) == 1
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1


def test_one_signs_in_by_password_or_by_token_and_is_told_when_that_fails(
    grafana: Grafana, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GRAFANA_TOKEN")
    monkeypatch.setenv("GRAFANA_PASSWORD", PASSWORD)
    assert run(folder, "pull") == 0
    monkeypatch.setenv("GRAFANA_PASSWORD", "another")
    assert run(folder, "pull") == 1
    told = capsys.readouterr().err
    assert told == "clinic: Grafana refuses (401): set GRAFANA_TOKEN, or GRAFANA_PASSWORD\n"
    with pytest.raises(ToolError, match="401"):
        fetch(UID, grafana.url, {})


def test_a_grafana_that_is_not_there_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ToolError, match=r"Grafana at http://127\.0\.0\.1:1 does not answer \(ConnectError\)"):
        fetch(UID, "http://127.0.0.1:1", {})
    monkeypatch.setenv("GRAFANA_URL", "http://127.0.0.1:1")
    assert run(folder, "pull") == 1


def test_formatting_changes_the_form_and_never_what_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "grafana-dashboard.json"
    path.write_text(json.dumps(shipped() | {"id": 3, "version": 9, "iteration": 1}), "utf-8")
    assert format_all(folder) == [path]
    assert json.loads(path.read_text("utf-8")) == shipped()
    assert run(folder, "format") == 0
    assert capsys.readouterr().out == "all are in normal form\n"
    path.write_text("{", "utf-8")
    assert run(folder, "format") == 1
    assert "grafana-dashboard.json cannot be read as JSON" in capsys.readouterr().err


def test_a_panel_inside_a_collapsed_row_is_brought_into_form_too(folder: Path) -> None:
    row = {"type": "row", "panels": [{"type": "stat", "pluginVersion": "13.2.3"}], "pluginVersion": "13.2.3"}
    data = json.loads(normal(shipped() | {"panels": [row]}))
    assert data["panels"] == [{"type": "row", "panels": [{"type": "stat"}]}]
    assert keep(shipped(), UID, folder)[1] is False
