"""What a drill sends is the simulator's messages, of invented patients, as many as it says."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.messages import CORPUS, PATIENTS
from tests.support.serving import serving
from tools.base.wait import until
from tools.drill.traffic import FIRST_NEW, Traffic

SECRET = "the-secret"


@dataclass
class Received:
    """What came, in its order."""

    url: str = ""
    secrets: list[str] = field(default_factory=list)
    bodies: list[dict[str, object]] = field(default_factory=list)

    def texts(self) -> list[str]:
        return [self._data(body)["message"]["conversation"] for body in self.bodies]

    def patients(self) -> list[int]:
        return [int(self._data(body)["key"]["remoteJid"][7:13]) for body in self.bodies]

    def ids(self) -> list[str]:
        return [self._data(body)["key"]["id"] for body in self.bodies]

    @staticmethod
    def _data(body: dict[str, object]) -> dict[str, dict[str, str]]:
        data: dict[str, dict[str, str]] = body["data"]  # type: ignore[assignment]
        return data


@pytest.fixture
def received() -> Iterator[Received]:
    """A webhook that takes everything."""
    made = Received()

    async def take(request: Request) -> Response:
        made.secrets.append(request.headers["x-webhook-secret"])
        made.bodies.append(json.loads(await request.body()))
        return Response()

    paths = ("/webhooks/evolution", "/webhooks/evolution/{event}")
    with serving(Starlette(routes=[Route(path, take, methods=["POST"]) for path in paths])) as url:
        made.url = url
        yield made


def test_known_patients_are_the_simulators_and_ask_mostly_what_has_a_fast_answer(received: Received) -> None:
    with Traffic(received.url, SECRET, {"known": 100.0}):
        until(lambda: len(received.bodies) >= 40, "two rounds of lanes")
    fast = {text for lane in ("faq", "price") for texts in CORPUS[lane].values() for text in texts}
    assert sum(text in fast for text in received.texts()[:40]) >= 28
    assert all(1 <= patient <= PATIENTS for patient in received.patients())
    assert set(received.secrets) == {SECRET}
    assert len(set(received.ids())) == len(received.ids())


def test_new_patients_are_none_of_the_simulators_and_wrote_never_before(received: Received) -> None:
    with Traffic(received.url, SECRET, {"new": 100.0}):
        until(lambda: len(received.bodies) >= 20, "some came")
    assert min(received.patients()) >= FIRST_NEW > PATIENTS


def test_duplicates_are_one_message_and_rejected_ones_have_a_wrong_secret(received: Received) -> None:
    with Traffic(received.url, SECRET, {"duplicate": 50.0}):
        until(lambda: len(received.bodies) >= 10, "some came")
    assert len(set(received.ids())) == 1
    received.secrets.clear()
    with Traffic(received.url, SECRET, {"rejected": 50.0}):
        until(lambda: len(received.secrets) >= 10, "some came")
    assert set(received.secrets) == {"wrong"}


def test_no_rate_is_no_message(received: Received) -> None:
    with Traffic(received.url, SECRET, {}):
        pass
    assert received.bodies == []
