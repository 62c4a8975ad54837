"""What the backend talks to: Evolution's REST API and an OpenAI-compatible model. Faults on demand.

Beside them the local receiver of notifications.
"""

import asyncio
import base64
import hashlib
import hmac
import math
import re
import struct
import time
import uuid
from collections import Counter, deque
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from simulator import notifications

RECEIVED_KEPT = 10_000
DIMENSIONS = 64
ANSWER = "Thank you for your message. A member of our team will call you back today."


class Reply(BaseModel):
    """Evolution's `sendText`."""

    number: str
    text: str


class EmbeddingsRequest(BaseModel):
    """OpenAI's `embeddings`, as far as clients use it."""

    input: str | list[str]
    model: str = "simulated"
    dimensions: int = Field(default=DIMENSIONS, ge=1, le=4096)
    encoding_format: str = "float"


class ChatRequest(BaseModel):
    """OpenAI's `chat/completions`, as far as it is used here; the messages are not looked at."""

    model: str = "simulated"
    messages: list[dict[str, Any]]


class Fault(BaseModel, extra="forbid"):
    """What an endpoint does instead (a status, an unknown number), or before (a delay)."""

    status: int | None = Field(default=None, ge=400, le=599)
    unknown_number: bool = False
    """Evolution's 400 for a number that WhatsApp does not know; for `send_text`."""
    delay_seconds: float = Field(default=0.0, ge=0.0, le=600.0)


class Faults(BaseModel, extra="forbid"):
    """By endpoint; null ends a fault, what is not named stays."""

    send_text: Fault | None = None
    embeddings: Fault | None = None
    chat: Fault | None = None


class State:
    """What the simulator remembers. Texts and numbers live here only, never in a log."""

    def __init__(self, api_key: str) -> None:
        self.api_key = api_key
        self.faults = Faults()
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.total_received = 0
        self.received: deque[dict[str, str]] = deque(maxlen=RECEIVED_KEPT)

    async def answer(self, endpoint: str, status: int, body: dict[str, Any]) -> JSONResponse:
        """The endpoint's answer, or what its fault makes of it."""
        self.asked[endpoint] += 1
        fault: Fault = getattr(self.faults, endpoint) or Fault()
        await asyncio.sleep(fault.delay_seconds)
        if fault.unknown_number:
            status, body = 400, _unknown(str(body.get("key", {}).get("remoteJid", "")))
        elif fault.status is not None:
            status, body = fault.status, {"error": {"message": "simulated fault", "type": "simulated"}}
        self.answered[f"{endpoint} {status}"] += 1
        return JSONResponse(body, status)


def _state(request: Request) -> State:
    state: State = request.app.state.simulator
    return state


def _authorised(request: Request, apikey: Annotated[str, Header()] = "") -> State:
    state = _state(request)
    if not hmac.compare_digest(apikey.encode(), state.api_key.encode()):
        raise HTTPException(401, "Unauthorized")
    return state


AnyCaller = Annotated[State, Depends(_state)]
KnownCaller = Annotated[State, Depends(_authorised)]
router = APIRouter()


@router.post("/message/sendText/{instance:path}")  # a name may hold slashes, encoded on the way
async def send_text(instance: str, reply: Reply, state: KnownCaller) -> JSONResponse:
    """Accept a reply. A delayed one is accepted even if the caller hangs up meanwhile, as it would be by Evolution."""
    response = await state.answer("send_text", 201, _accepted(reply))
    if response.status_code == 201:
        state.total_received += 1
        state.received.append({"instance": instance, "number": reply.number, "text": reply.text})
    return response


@router.get("/received")
async def received(state: KnownCaller) -> dict[str, Any]:
    """The number of accepted replies since the last DELETE, and the newest of them."""
    return {"total": state.total_received, "replies": list(state.received)}


@router.delete("/received", status_code=204)
async def forget(state: KnownCaller) -> None:
    """Forget the accepted replies."""
    state.total_received = 0
    state.received.clear()


@router.post("/v1/embeddings")
async def embeddings(asked: EmbeddingsRequest, state: AnyCaller) -> JSONResponse:
    """One unit vector a text: the same for the same text, near for texts that share words."""
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    vectors = [embed(text, asked.dimensions) for text in texts]
    data = [
        {"object": "embedding", "index": index, "embedding": _encode(vector, asked.encoding_format)}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    return await state.answer("embeddings", 200, {"object": "list", "data": data, "model": asked.model, "usage": usage})


@router.post("/v1/chat/completions")
async def chat(asked: ChatRequest, state: AnyCaller) -> JSONResponse:
    """The same polite answer to everything."""
    choice = {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
    body = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": asked.model,
        "choices": [choice],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
    return await state.answer("chat", 200, body)


@router.put("/faults")
async def set_faults(faults: Faults, state: AnyCaller) -> Faults:
    """Begin or end faults; answers with all that are on."""
    named = {name: getattr(faults, name) for name in faults.model_fields_set}
    state.faults = state.faults.model_copy(update=named)
    return state.faults


@router.get("/health")
async def health(state: AnyCaller) -> dict[str, Any]:
    """Alive; the requests so far by endpoint, answered or not yet, and the answers by endpoint and status."""
    return {"status": "ok", "asked": state.asked, "answered": state.answered}


def create_app(api_key: str) -> FastAPI:
    """The simulator's endpoints; replies must carry this key in the header `apikey`."""
    app = FastAPI(title="Simulator", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.simulator = State(api_key)
    app.state.notifications = notifications.Received()
    app.include_router(router)
    app.include_router(notifications.router)
    return app


def embed(text: str, dimensions: int) -> list[float]:
    """A feature hash of the text's words, of length 1."""
    vector = [0.0] * dimensions
    for word in re.findall(r"\w+", text.casefold()) or [""]:
        digest = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest())
        vector[(digest >> 1) % dimensions] += 1.0 if digest & 1 else -1.0
    length = math.hypot(*vector)
    return [value / length for value in vector] if length else [1.0, *vector[1:]]


def _encode(vector: list[float], encoding: str) -> list[float] | str:
    """OpenAI's own client asks for base64 where it can."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if encoding == "base64" else vector


def _unknown(jid: str) -> dict[str, Any]:
    number = {"jid": jid, "exists": False, "number": jid.partition("@")[0]}
    return {"status": 400, "error": "Bad Request", "response": {"message": [number]}}


def _accepted(reply: Reply) -> dict[str, Any]:
    return {
        "key": {
            "remoteJid": f"{reply.number}@s.whatsapp.net",
            "fromMe": True,
            "id": f"3EB0{uuid.uuid4().hex[:18].upper()}",
        },
        "status": "PENDING",
        "message": {"conversation": reply.text},
        "messageType": "conversation",
        "messageTimestamp": int(time.time()),
    }
