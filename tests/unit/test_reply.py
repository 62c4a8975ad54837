"""How answers are sent to Evolution."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

from app.outbox import reply_job
from app.outbox.queue import Job
from app.outbox.reply_job import ReplyJob, ReplyRefusedError
from app.settings import Settings
from simulator.server import create_app
from tests.support.serving import serving

SETTINGS = Settings(database_url=SecretStr("postgresql://"), webhook_secret=SecretStr("secret"))
NODE_CLOSES_AFTER_SECONDS = 5  # https://nodejs.org/api/http.html#serverkeepalivetimeout


@pytest.mark.parametrize(("idle_seconds", "connections"), [(reply_job.IDLE_SECONDS, 1), (0, 2)])
def test_a_connection_is_used_again_until_it_was_idle_for_too_long(
    monkeypatch: pytest.MonkeyPatch, idle_seconds: float, connections: int
) -> None:
    monkeypatch.setattr(reply_job, "IDLE_SECONDS", idle_seconds)
    seen = set()

    async def answer(request: Request) -> JSONResponse:
        seen.add(request.client)
        return JSONResponse({})

    async def send_twice(url: str) -> None:
        async with reply_job.client(SETTINGS) as sender:
            await sender.post(url)
            await sender.post(url)

    with serving(Router([Route("/", answer, methods=["POST"])])) as url:
        asyncio.run(send_twice(url))
    assert len(seen) == connections


def test_evolution_does_not_close_what_is_used_again() -> None:
    assert reply_job.IDLE_SECONDS < NODE_CLOSES_AFTER_SECONDS


KEY = "an invented key"
NUMBER = "5500900000001"


async def send(url: str, instance: str = "clinic") -> None:
    """Do one reply job with what answers at this URL as Evolution."""
    settings = Settings(
        database_url="postgresql://x/y", webhook_secret="x", evolution_api_url=url, evolution_api_key=KEY
    )
    job = Job(1, "reply", instance, NUMBER, {"text": "Abrimos às 8h."}, "", 0, 0)
    async with reply_job.client(settings) as sender:
        await ReplyJob(settings, sender).run(job)


@pytest.mark.parametrize(
    "instance",
    ["clinic", "Clínica São João", "a/b", "/", "a//b", "..", ".", "100%", "%2F", "why?", "a#b", "a.b", " a "],
)
def test_a_reply_reaches_the_instance_whatever_its_name_is(instance: str) -> None:
    with serving(create_app(KEY)) as url:
        asyncio.run(send(url, instance))
        replies = httpx.get(f"{url}/received", headers={"apikey": KEY}, trust_env=False).json()["replies"]
    assert replies == [{"instance": instance, "number": NUMBER, "text": "Abrimos às 8h."}]


def answering(status: int, body: str) -> Router:
    """An Evolution that answers everything with this."""

    async def answer(_: Request) -> Response:
        return Response(body, status, media_type="application/json")

    return Router([Route("/message/sendText/clinic", answer, methods=["POST"])])


def outcome(status: int, body: Any) -> str:
    """What becomes of a reply that is answered so: sent, failed, refused, refused for good."""
    with serving(answering(status, body if isinstance(body, str) else json.dumps(body))) as url:
        try:
            asyncio.run(send(url))
        except ReplyRefusedError as error:
            return "refused for good" if error.final else "refused"
        except httpx.HTTPStatusError:
            return "failed"
        return "sent"


JID = {"jid": f"{NUMBER}@s.whatsapp.net", "exists": False, "number": NUMBER}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"status": 400, "error": "Bad Request", "response": {"message": [JID]}}),
        (400, {"status": 400, "error": "Bad Request", "response": {"message": [{**JID, "name": "Ana", "lid": None}]}}),
        (400, {"status": 400, "error": "Bad Request", "message": [JID]}),  # as its own error before it is answered
        (400, {"response": {"message": JID}}),
        (400, [JID]),
        (404, {"response": {"message": [[JID]]}}),
    ],
)
def test_a_number_that_whatsapp_does_not_know_is_refused_for_good(status: int, body: Any) -> None:
    assert outcome(status, body) == "refused for good"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"status": 400, "error": "Bad Request", "response": {"message": ["Connection Closed"]}}),
        (400, {"response": {"message": [{**JID, "exists": True}]}}),
        (400, {"response": {"message": ["exists: false"]}}),
        (400, {"response": {"message": [{**JID, "exists": 0}]}}),
        (404, {"response": {"message": ['The "clinic" instance does not exist']}}),
        (404, "<!DOCTYPE html>"),
        (400, "[" * 100_000),
        (422, "\xff"),
        (500, {"response": {"message": [JID]}}),
        (302, ""),
    ],
)
def test_every_other_refusal_is_tried_again(status: int, body: Any) -> None:
    assert outcome(status, body) == "failed"


SENT = {"key": {"remoteJid": JID["jid"], "fromMe": True, "id": "3EB0"}, "message": {"conversation": "x"}}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (SENT, "sent"),
        ({}, "sent"),
        ("", "sent"),
        ({"message": "(#131047) Re-engagement message", "type": "OAuthException", "code": 131047}, "refused"),
        ({"message": "x", "code": 100, "error_data": {"messaging_product": "whatsapp"}, "fbtrace_id": "A"}, "refused"),
    ],
)
def test_what_metas_cloud_refused_is_no_success_although_evolution_answers_201(body: Any, expected: str) -> None:
    assert outcome(201, body) == expected
