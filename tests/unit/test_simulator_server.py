"""The simulator plays what the backend calls: Evolution, a model, whoever is told of alerts."""

import base64
import math
import re
import struct
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.outbox.reply_job import path_segment
from simulator.server import create_app
from tests.support.serving import serving

KEY = "an invented key"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(KEY))
    async with httpx.AsyncClient(transport=transport, base_url="http://simulator", headers={"apikey": KEY}) as client:
        yield client


REPLY = {"number": "5500900000001", "text": "Abrimos às 8h."}
WAIT = {"status": None, "unknown_number": False, "delay_seconds": 0.01}


async def test_a_reply_is_accepted_as_evolution_does(client: httpx.AsyncClient) -> None:
    response = await client.post("/message/sendText/clinic-demo", json=REPLY)
    assert response.status_code == 201
    assert response.json()["key"]["remoteJid"] == "5500900000001@s.whatsapp.net"
    assert response.json()["status"] == "PENDING"
    seen = (await client.get("/received")).json()
    assert seen == {"total": 1, "replies": [{"instance": "clinic-demo", **REPLY}]}
    assert (await client.delete("/received")).status_code == 204
    assert (await client.get("/received")).json() == {"total": 0, "replies": []}


@pytest.mark.parametrize("instance", ["Clínica Central", "a/b", "100%", "why?", "a#b", "..", "%2F", " x "])
async def test_an_instance_may_have_any_name(client: httpx.AsyncClient, instance: str) -> None:
    assert (await client.post(f"/message/sendText/{path_segment(instance)}", json=REPLY)).status_code == 201
    assert (await client.get("/received")).json()["replies"] == [{"instance": instance, **REPLY}]


async def test_a_number_can_be_unknown_to_whatsapp(client: httpx.AsyncClient) -> None:
    await client.put("/faults", json={"send_text": {"unknown_number": True}})
    answer = await client.post("/message/sendText/clinic-demo", json=REPLY)
    number = {"jid": "5500900000001@s.whatsapp.net", "exists": False, "number": "5500900000001"}
    body = {"status": 400, "error": "Bad Request", "response": {"message": [number]}}
    assert (answer.status_code, answer.json()) == (400, body)
    assert (await client.get("/received")).json()["total"] == 0


@pytest.mark.parametrize("headers", [{"apikey": "wrong"}, {"apikey": ""}])
async def test_replies_need_the_key(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    assert (await client.post("/message/sendText/clinic-demo", json=REPLY, headers=headers)).status_code == 401
    assert (await client.get("/received", headers=headers)).status_code == 401
    assert (await client.delete("/received", headers=headers)).status_code == 401
    assert (await client.get("/received")).json()["total"] == 0


async def test_a_fault_lasts_until_it_is_ended(client: httpx.AsyncClient) -> None:
    await client.put("/faults", json={"send_text": {"status": 500}, "chat": {"delay_seconds": 0.01}})
    assert (await client.post("/message/sendText/clinic-demo", json=REPLY)).status_code == 500
    faults = await client.put("/faults", json={"send_text": None})
    assert faults.json() == {"send_text": None, "embeddings": None, "chat": WAIT}
    assert (await client.post("/message/sendText/clinic-demo", json=REPLY)).status_code == 201
    assert (await client.get("/received")).json()["total"] == 1
    assert (await client.get("/health")).json() == {
        "status": "ok",
        "asked": {"send_text": 2},
        "answered": {"send_text 500": 1, "send_text 201": 1},
    }


@pytest.mark.parametrize("faults", [{"sendtext": None}, {"chat": {"status": 200}}, {"chat": {"delay_seconds": -1}}])
async def test_a_fault_that_makes_no_sense_is_refused(client: httpx.AsyncClient, faults: dict[str, Any]) -> None:
    assert (await client.put("/faults", json=faults)).status_code == 422


async def test_embeddings_are_unit_vectors_that_depend_on_the_text_alone(client: httpx.AsyncClient) -> None:
    texts = ["Quanto custa?", "quanto custa", "What are your opening hours?", ""]
    answer = (await client.post("/v1/embeddings", json={"input": texts, "model": "any"})).json()
    vectors = [one["embedding"] for one in answer["data"]]
    assert [(one["index"], len(one["embedding"])) for one in answer["data"]] == [(0, 64), (1, 64), (2, 64), (3, 64)]
    assert [math.hypot(*vector) for vector in vectors] == pytest.approx([1.0] * 4)
    assert vectors[0] == vectors[1] != vectors[2]
    again = (await client.post("/v1/embeddings", json={"input": texts[2], "model": "any", "dimensions": 64})).json()
    assert again["data"][0]["embedding"] == vectors[2]


async def test_embeddings_come_in_base64_if_asked(client: httpx.AsyncClient) -> None:
    asked = {"input": "abc", "dimensions": 16}
    plain = (await client.post("/v1/embeddings", json=asked)).json()["data"][0]["embedding"]
    packed = (await client.post("/v1/embeddings", json=asked | {"encoding_format": "base64"})).json()
    assert list(struct.unpack("<16f", base64.b64decode(packed["data"][0]["embedding"]))) == pytest.approx(plain)


async def test_the_model_is_polite(client: httpx.AsyncClient) -> None:
    body = {"model": "any", "messages": [{"role": "user", "content": "My tooth hurts"}]}
    answer = (await client.post("/v1/chat/completions", json=body)).json()
    assert answer["choices"][0]["message"]["content"].startswith("Thank you for your message.")


NOTIFICATION: dict[str, Any] = {
    "version": "4",
    "status": "firing",
    "receiver": "local",
    "alerts": [{"status": "firing", "labels": {"alertname": "HighErrorRate"}, "annotations": {}}],
    "groupKey": "kept, though not looked at",
}


async def test_notifications_are_kept_in_their_order_and_can_be_read_from_where_one_stopped(
    client: httpx.AsyncClient,
) -> None:
    for status in ("firing", "resolved"):
        assert (await client.post("/notifications", json=NOTIFICATION | {"status": status})).status_code == 204
    kept = (await client.get("/notifications")).json()
    assert [(one["number"], one["notification"]) for one in kept["notifications"]] == [
        (1, NOTIFICATION),
        (2, NOTIFICATION | {"status": "resolved"}),
    ]
    newer = (await client.get("/notifications", params={"after": 1})).json()
    assert newer["notifications"] == kept["notifications"][1:]


async def test_of_the_heartbeat_only_the_last_time_is_kept(client: httpx.AsyncClient) -> None:
    assert (await client.get("/notifications")).json() == {"heartbeat": None, "notifications": []}
    before = time.time()
    assert (await client.post("/heartbeat", json=NOTIFICATION)).status_code == 204
    kept = (await client.get("/notifications")).json()
    assert before <= kept["heartbeat"] <= time.time()
    assert kept["notifications"] == []


@pytest.mark.parametrize("wrong", [{"version": "3"}, {"status": "new"}, {"alerts": [{}]}, {"receiver": None}])
async def test_what_is_no_notification_is_refused(client: httpx.AsyncClient, wrong: dict[str, Any]) -> None:
    assert (await client.post("/notifications", json=NOTIFICATION | wrong)).status_code == 422
    assert (await client.get("/notifications")).json()["notifications"] == []


def test_no_body_is_repeated_in_the_output_of_a_serving_simulator(capfd: pytest.CaptureFixture[str]) -> None:
    with serving(create_app(KEY)) as url:
        httpx.post(f"{url}/message/sendText/clinic-demo", json=REPLY, headers={"apikey": KEY})
        httpx.post(f"{url}/message/sendText/clinic-demo", json=REPLY | {"number": 1}, headers={"apikey": KEY})
    output = "".join(capfd.readouterr())
    assert not re.search("5500900|Abrimos", output)
