"""`POST /webhooks/evolution`: authenticate, read with a limit, parse, handle.

In this order: a stranger's body is never read.
"""

import hmac
import logging
from typing import Annotated

import jwt
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import JSONResponse
from opentelemetry import trace
from starlette.requests import ClientDisconnect

from app.conversation.message import InvalidEvent, parse
from app.settings import Settings

log = logging.getLogger(__name__)
router = APIRouter()

ENDPOINT = "/webhooks/evolution"


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
        claims = jwt.decode(token, key, algorithms=["HS256"], options={"require": ["exp", "iat"]})
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
    """An event of Evolution API: 200 when it is safe with us, 422 when it never will be, 503 to be asked again."""
    try:
        message = parse(body)
    except InvalidEvent as invalid:
        return JSONResponse({"error": str(invalid), "details": invalid.errors}, 422)
    if message is None:
        return _answer("ignored", "none")
    try:
        outcome = await request.app.state.pipeline.handle(message)
    except Exception as error:  # counted by the pipeline; whatever it was, Evolution shall ask again
        log.error("a message could not be handled (%s), asking for it again", type(error).__name__)
        _label("error", "none")
        return JSONResponse({"error": "the message could not be handled now, send it again"}, 503)
    return _answer(outcome.status, outcome.lane)


def _answer(status: str, lane: str) -> JSONResponse:
    _label(status, lane)
    return JSONResponse({"status": status, "lane": lane})


def _label(status: str, lane: str) -> None:
    """On the SERVER span; where this never runs, the Collector sets them from the HTTP status code."""
    trace.get_current_span().set_attributes({"endpoint": ENDPOINT, "lane": lane, "status": status})
