"""Take dashboards back from Grafana, and format them."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import httpx

from tools.base.errors import ToolError
from tools.base.files import ROOT
from tools.stack import docker
from tools.stack.stack import this_clone
from tools.stack.where import in_docker, where

FOLDER = ROOT / "grafana" / "dashboards"
OF_ONE_GRAFANA = ("id", "version", "iteration")
CLASSIC = "choose the model Classic when exporting; files in the V2 format are not loaded by Grafana's provisioning"

Json = dict[str, Any]


def normal(data: object) -> str:
    """A dashboard's text in normal form. Raises ToolError for what provisioning could not load."""
    if not isinstance(data, dict):
        raise ToolError("this is no dashboard: a JSON object was expected")
    if str(data.get("apiVersion", "")).startswith("dashboard.grafana.app/v2") or {"elements", "layout"} & data.keys():
        raise ToolError(f"this is a dashboard in the V2 format: {CLASSIC}")
    if "__inputs" in data:
        raise ToolError("this export asks for data sources: switch off “Share dashboard with another instance”")
    if lacking := sorted({"panels", "schemaVersion", "title", "uid"} - data.keys()):
        raise ToolError(f"this is no dashboard in the classic format, it has no {', '.join(lacking)}: {CLASSIC}")
    kept = {key: value for key, value in data.items() if key not in OF_ONE_GRAFANA}
    kept["panels"] = [_panel(panel) for panel in data["panels"]]
    if "templating" in data:
        kept["templating"] = {"list": [_variable(one) for one in data["templating"].get("list", [])]}
    return json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _panel(panel: Json) -> Json:
    """Without the version of the plugin that drew it last."""
    kept = {key: value for key, value in panel.items() if key != "pluginVersion"}
    if "panels" in panel:
        kept["panels"] = [_panel(one) for one in panel["panels"]]
    return kept


def _variable(variable: Json) -> Json:
    """Which data source was chosen in one Grafana is not true in the next."""
    return variable | {"current": {}} if variable["type"] == "datasource" else variable


def fetch(uid: str, url: str, headers: Mapping[str, str], auth: tuple[str, str] | None = None) -> Json:
    """The dashboard as it was saved last. Raises ToolError."""
    address = f"{url.rstrip('/')}/api/dashboards/uid/{uid}"
    try:
        answer = httpx.get(address, headers=headers, auth=auth, timeout=10, trust_env=False)
        content = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ToolError(
            f"Grafana at {url} does not answer ({type(error).__name__}): start it, or set GRAFANA_URL"
        ) from error
    except ValueError as error:
        raise ToolError(f"{address} answers {answer.status_code} without JSON: is that Grafana?") from error
    if answer.status_code in (401, 403):
        raise ToolError(f"Grafana refuses ({answer.status_code}): set GRAFANA_TOKEN, or GRAFANA_PASSWORD")
    if answer.status_code == 404:
        raise ToolError(f"Grafana has no dashboard with the uid {uid}: it is the part after /d/ in its address")
    if answer.status_code == 406:  # it was saved in the V2 format, and cannot be told in the classic one
        raise ToolError(f"{uid} was saved in the V2 format: save it as JSON in the page and {CLASSIC}")
    if not answer.is_success or "dashboard" not in content:
        raise ToolError(f"Grafana answers {answer.status_code}: {content.get('message', 'no dashboard in it')}")
    found: Json = content["dashboard"]
    return found


def read(path: Path) -> object:
    """The dashboard in a file, of an export too that wraps it. Raises ToolError."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ToolError(f"{path} cannot be read as JSON: {error}") from error
    if isinstance(data, dict) and data.keys() >= {"dashboard", "meta"}:  # as the API gives it
        return data["dashboard"]
    if isinstance(data, dict) and str(data.get("apiVersion", "")).startswith("dashboard.grafana.app/v1"):  # Classic
        return {**data["spec"], "uid": data["metadata"]["name"]}
    return data


def keep(data: object, instead_of: str, folder: Path) -> tuple[Path, bool]:
    """Put a dashboard in the place of ours; returns the file, and whether it changed.

    Args:
        data: what Grafana gave.
        instead_of: uid of ours; a copy that was saved under another uid and title gets both from ours.
        folder: where ours are.

    Raises:
        ToolError: it is no classic dashboard, or none of ours has the uid.
    """
    text = normal(data)
    ours = {json.loads(path.read_text("utf-8"))["uid"]: path for path in sorted(folder.glob("*.json"))}
    if instead_of not in ours:
        raise ToolError(f"none of ours has the uid {instead_of}; say whose copy it is: AS={' or AS='.join(ours)}")
    path = ours[instead_of]
    before = path.read_text("utf-8")
    got = json.loads(text)
    if got["uid"] != instead_of:
        text = normal(got | {key: json.loads(before)[key] for key in ("uid", "title")})
    if text != before:
        path.write_text(text, "utf-8")
    return path, text != before


def format_all(folder: Path) -> list[Path]:
    """Bring ours into normal form; returns those that were not. Raises ToolError, naming the file."""
    changed = []
    for path in sorted(folder.glob("*.json")):
        try:
            text = normal(read(path))
        except ToolError as error:
            raise ToolError(f"{path.name}: {error}") from error
        if text != path.read_text("utf-8"):
            path.write_text(text, "utf-8")
            changed.append(path)
    return changed


def _asked(uid: str) -> Json:
    token, password = os.environ.get("GRAFANA_TOKEN"), os.environ.get("GRAFANA_PASSWORD")
    url = where("grafana")
    if not os.environ.get("GRAFANA_URL"):  # it is the stack's, and so is its password
        password = (
            docker.environment("grafana")["GF_SECURITY_ADMIN_PASSWORD"]
            if in_docker()
            else this_clone().service_environment()["GRAFANA_PASSWORD"]
        )
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    auth = (os.environ.get("GRAFANA_USER", "admin"), password) if password and not token else None
    return fetch(uid, url, headers, auth)


_ours = click.option("--folder", type=click.Path(path_type=Path), default=FOLDER, help="Where ours are.")


@click.group("dashboards", help=__doc__)
def command() -> None:
    """Its verbs are below."""


@command.command("pull")
@click.argument("uid", default="healthcare-backend")
@click.option("--as", "instead_of", metavar="UID", help="Of ours, that a copy was made of.")
@click.option("--file", type=click.Path(path_type=Path), help="An export instead of what is saved in Grafana.")
@_ours
def _pull(uid: str, instead_of: str | None, file: Path | None, folder: Path) -> None:
    """Take a dashboard that was edited in Grafana's page.

    UID is its own, also of a copy. GRAFANA_URL is where; GRAFANA_TOKEN, or GRAFANA_PASSWORD of GRAFANA_USER (admin),
    signs in. Without them it is the running stack.
    """
    if file:
        data = read(file)
        uid = str(data.get("uid")) if isinstance(data, dict) else ""
    else:
        data = _asked(uid)
    path, changed = keep(data, instead_of or uid, folder)
    print(f"{path.name}: written, look at it with `git diff`" if changed else f"{path.name}: nothing changed")


@command.command("format")
@_ours
def _format(folder: Path) -> None:
    """Bring the dashboards' files into normal form: sorted keys, nothing of one Grafana."""
    changed = format_all(folder)
    print("\n".join(f"{path.name}: now in normal form" for path in changed) or "all are in normal form")
