"""How answers are sent to Evolution."""

import asyncio

import pytest
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, Router

from app.outbox import reply_job
from app.settings import Settings
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
