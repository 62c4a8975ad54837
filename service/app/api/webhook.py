"""`POST /webhooks/evolution`: authenticate, read with a limit, parse, handle.

In this order: a stranger's body is never read. Evolution never repeats what is answered with 400, 401, 403, 404 or 422:
what is Evolution's and not understood is kept, and what is refused is counted and logged.
"""

import hmac
import logging
import time
from collections import Counter
from typing import Annotated

import jwt
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import JSONResponse
from opentelemetry import trace
from starlette.requests import ClientDisconnect

from app.conversation.message import NotUnderstoodError, parse
from app.settings import Settings

log = logging.getLogger(__name__)
router = APIRouter()

BELOW = "/webhooks/"
ENDPOINT = BELOW + "evolution"
_LEEWAY_SECONDS = 60  # between Evolution's clock and ours
_LOG_EVERY_SECONDS = 60.0
_NO_WEBHOOK = f"no webhook has this address, Evolution's is {ENDPOINT}"


class Refusals:
    """Says in the log at most once a minute, for each reason, how many deliveries were refused."""

    def __init__(self) -> None:
        self._untold = Counter[str]()
        self._told_at: dict[str, float] = {}

    def add(self, reason: str) -> None:
        """One more; the reason is a sentence of ours, never of the sender's."""
        self._untold[reason] += 1
        now = time.monotonic()
        if now - self._told_at.get(reason, -_LOG_EVERY_SECONDS) >= _LOG_EVERY_SECONDS:
            self._told_at[reason] = now
            log.warning("deliveries refused: %d (%s)", self._untold.pop(reason), reason)


refusals = Refusals()


async def authenticate(request: Request) -> None:
    """Let Evolution in, by the shared header or its bearer token.

    Raises:
        HTTPException: 401 without credentials, 403 with wrong ones.
    """
    settings: Settings = request.app.state.settings
    secret = request.headers.get("x-webhook-secret")
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if secret is None and scheme.lower() != "bearer":
        raise HTTPException(401, "credentials are missing: header X-Webhook-Secret or Authorization: Bearer")
    if secret is not None and settings.webhook_secret:
        expected = settings.webhook_secret.get_secret_value()
        if hmac.compare_digest(secret.encode(), expected.encode()):
            return
    if token and settings.webhook_jwt_key and _is_evolutions(token, settings.webhook_jwt_key.get_secret_value()):
        return
    raise HTTPException(403, "credentials are wrong")


def _is_evolutions(token: str, key: str) -> bool:
    try:
        claims = jwt.decode(
            token, key, algorithms=["HS256"], leeway=_LEEWAY_SECONDS, options={"require": ["exp", "iat"]}
        )
    except jwt.InvalidTokenError:
        return False
    return claims.get("app") == "evolution"


async def read_body(request: Request) -> bytes:
    """The body, within the limit.

    Raises:
        HTTPException: 413 when it is larger, 400 when the client went away or its Content-Length is no number.
    """
    limit = request.app.state.settings.webhook_max_body_bytes
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal():
        raise HTTPException(400, "Content-Length is no number")
    too_large = HTTPException(413, f"the body is larger than {limit} bytes")
    if int(declared) > limit:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise too_large
    except ClientDisconnect:
        raise HTTPException(400, "the body ended early") from None
    return bytes(body)


@router.post(ENDPOINT, dependencies=[Depends(authenticate)])
@router.post(ENDPOINT + "/{event}", dependencies=[Depends(authenticate)])
async def receive(request: Request, body: Annotated[bytes, Depends(read_body)]) -> JSONResponse:
    """An event of Evolution API: 200 when it is safe with us, 422 when it is kept unread, 503 to be asked again."""
    try:
        message = parse(body)
        if message is None:
            return _answer("ignored", "none")
        outcome = await request.app.state.pipeline.handle(message)
    except NotUnderstoodError as unknown:
        return await _keep(request, body, unknown)
    except Exception as error:  # counted by the pipeline; whatever it was, Evolution shall ask again
        return _again(error)
    return _answer(outcome.status, outcome.lane)


@router.post(BELOW + "{path:path}")
async def elsewhere(request: Request) -> JSONResponse:
    """No webhook has this address. What Evolution sends there all the same is kept."""
    try:
        await authenticate(request)
    except HTTPException:
        raise HTTPException(404, _NO_WEBHOOK) from None
    return await _keep(request, await read_body(request), NotUnderstoodError("path"))


async def _keep(request: Request, body: bytes, unknown: NotUnderstoodError) -> JSONResponse:
    status = "ignored" if unknown.is_new else "rejected"
    try:
        await request.app.state.kept.keep(body, unknown.reason, status=status)
    except Exception as error:
        return _again(error)
    if unknown.is_new:
        return _answer(status, "none")
    if unknown.reason == "path":
        raise HTTPException(404, _NO_WEBHOOK)
    refusals.add(str(unknown))
    return JSONResponse({"error": str(unknown), "details": unknown.errors}, 422)


def _again(error: Exception) -> JSONResponse:
    log.error("a message could not be handled (%s), asking for it again", type(error).__name__)
    _label("error", "none")
    return JSONResponse({"error": "the message could not be handled now, send it again"}, 503)


def _answer(status: str, lane: str) -> JSONResponse:
    _label(status, lane)
    return JSONResponse({"status": status, "lane": lane})


def _label(status: str, lane: str) -> None:
    """On the SERVER span; where this never runs, the Collector sets them from the HTTP status code."""
    trace.get_current_span().set_attributes({"endpoint": ENDPOINT, "lane": lane, "status": status})
