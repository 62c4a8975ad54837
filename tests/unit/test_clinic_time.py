"""Every time that a person reads is the clinic's, whatever the machine's is."""

import re
from zoneinfo import ZoneInfo

import pytest
import yaml
from pydantic import ValidationError

from app.settings import Settings
from tools import clock
from tools.sources import ROOT

GIVEN = {"database_url": "postgresql://x/y", "webhook_secret": "x"}


def zone(name: str) -> ZoneInfo:
    return Settings(**GIVEN, clinic_time_zone=name).clinic_time_zone  # type: ignore[arg-type]


def test_the_zone_is_a_name_of_iana() -> None:
    assert [zone(name).key for name in ("America/Manaus", "Europe/Lisbon", "UTC")] == [
        "America/Manaus",
        "Europe/Lisbon",
        "UTC",
    ]


@pytest.mark.parametrize(
    "name", ["Mars/Olympus", "", " ", "America", "-3", "BRT", "../../etc/passwd", "/etc/localtime"]
)
def test_another_name_is_refused_with_a_sentence_that_says_what_is_wanted(name: str) -> None:
    with pytest.raises(
        ValidationError, match="no such time zone: CLINIC_TIME_ZONE is a name such as America/Sao_Paulo"
    ):
        zone(name)


def test_one_default_stands_in_the_service_the_tools_the_containers_and_the_notifications() -> None:
    usual = Settings(**GIVEN).clinic_time_zone.key  # type: ignore[arg-type]
    assert usual == clock.USUAL
    services = yaml.safe_load((ROOT / "docker-compose.yaml").read_text("utf-8"))["services"]
    wanted = f"${{CLINIC_TIME_ZONE:-{usual}}}"
    assert services["service"]["environment"]["CLINIC_TIME_ZONE"] == wanted
    assert services["worker"]["environment"]["CLINIC_TIME_ZONE"] == wanted
    assert services["alertmanager"]["environment"]["TZ"] == wanted


def test_alertmanager_has_no_clock_but_its_own() -> None:
    routes = yaml.safe_load((ROOT / "alertmanager" / "alertmanager.yml").read_text("utf-8"))
    [hours] = routes["time_intervals"]
    assert {one["location"] for one in hours["time_intervals"]} == {"Local"}
    for file in (ROOT / "alertmanager").rglob("*.tmpl"):
        times = re.findall(r"\.(?:Starts|Ends)At[^}]*Format", file.read_text("utf-8"))
        assert times == [".StartsAt.Local.Format"]


def test_the_tools_heed_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(clock.VARIABLE, raising=False)
    assert clock.zone().key == clock.USUAL
    monkeypatch.setenv(clock.VARIABLE, "Asia/Tokyo")
    assert clock.zone().key == "Asia/Tokyo"
    monkeypatch.setenv(clock.VARIABLE, "Mars/Olympus")
    with pytest.raises(SystemExit, match="CLINIC_TIME_ZONE is no time zone: America/Sao_Paulo is one"):
        clock.zone()


def test_zones_are_locked_for_images_that_have_none() -> None:
    for name in ("service", "worker", "dev"):
        [line] = re.findall(r"^tzdata==.*", (ROOT / "requirements" / f"{name}.txt").read_text("utf-8"), re.MULTILINE)
        assert ";" not in line, f"{name}: on every platform"
