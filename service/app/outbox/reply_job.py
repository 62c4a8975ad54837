"""Sending an answer through Evolution's REST API; for the COMPLEX lane the model's words, if one is configured."""

import json
import logging
from typing import Any
from urllib.parse import quote

import httpx
from opentelemetry.trace import SpanKind

from app import outbound
from app.observability.tracing import mark_error, trace_span
from app.outbox.queue import Job
from app.settings import Settings

log = logging.getLogger(__name__)

IDLE_SECONDS = 2.0
"""How long a connection to Evolution or the model is used again; Node's servers close idle ones after 5 s."""
_SEND_SECONDS = 10.0
_MODEL_SECONDS = 30.0
_INSTRUCTION = (
    "You answer patients of a clinic on WhatsApp, briefly and kindly, in their language. You give no medical advice: "
    "for symptoms you ask them to call the clinic or, if urgent, the emergency number."
)


def client(settings: Settings) -> httpx.AsyncClient:
    """To send with: it never sends on a connection that the other side is about to close, which would cost a try."""
    limits = httpx.Limits(keepalive_expiry=IDLE_SECONDS)
    return outbound.client(settings, settings.evolution_api_url, settings.llm_url, limits=limits)


class ReplyRefusedError(Exception):
    """Evolution will not send this reply.

    Attributes:
        response: its answer; the body can hold the patient's number and is for nobody's log.
        final: it will not in ten minutes either, since WhatsApp does not know the number.
    """

    def __init__(self, response: httpx.Response, *, final: bool) -> None:
        super().__init__(f"status {response.status_code}")
        self.response = response
        self.final = final


class ReplyJob:
    """Does reply jobs.

    Args:
        settings: addresses and keys.
        sender: from `client`; the caller closes it.
    """

    kind = "reply"
    span_name = "reply.send"
    component = "reply"

    def __init__(self, settings: Settings, sender: httpx.AsyncClient) -> None:
        self._settings = settings
        self._client = sender
        self.refusals = settings.reply_refusals

    async def run(self, job: Job) -> None:
        """Send the answer.

        Raises:
            httpx.HTTPError: Evolution is away, or answered with an error.
            ReplyRefusedError: it says in its answer's body that it did not send the reply.
        """
        text = await self._words(job)
        response = await self._client.post(
            f"{self._settings.evolution_api_url}/message/sendText/{path_segment(job.instance)}",
            headers={"apikey": self._settings.evolution_api_key.get_secret_value()},
            json={"number": job.patient, "text": text},
            timeout=_SEND_SECONDS,
        )
        objects = _objects(response)
        if response.is_client_error and any(one.get("exists") is False for one in objects):
            raise ReplyRefusedError(response, final=True)
        response.raise_for_status()
        # Evolution passes on what Meta's Cloud API refused as a success, without the key that each message sent has.
        if objects and "key" not in objects[-1] and {"message", "error_data"} & objects[-1].keys():
            raise ReplyRefusedError(response, final=False)

    async def _words(self, job: Job) -> str:
        text: str = job.payload["text"]
        question = job.payload.get("question")
        if not question or not self._settings.llm_url:
            return text
        with trace_span("llm.chat", kind=SpanKind.CLIENT) as span:
            try:
                response = await self._client.post(
                    f"{self._settings.llm_url}/chat/completions",
                    headers={"Authorization": f"Bearer {self._settings.llm_api_key.get_secret_value()}"},
                    json={
                        "model": self._settings.llm_model,
                        "messages": [
                            {"role": "system", "content": _INSTRUCTION},
                            {"role": "user", "content": question},
                        ],
                    },
                    timeout=_MODEL_SECONDS,
                )
                response.raise_for_status()
                return str(response.json()["choices"][0]["message"]["content"])
            except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
                mark_error(span, "llm", error)
                log.warning("the model did not answer (%s), announcing a person", type(error).__name__)
                return text


def path_segment(name: str) -> str:
    """A name of any characters as one segment of a URL's path; clients take `.` and `..` for steps in it."""
    return "%2E" * len(name) if name in (".", "..") else quote(name, safe="")


def _objects(response: httpx.Response) -> list[dict[str, Any]]:
    """Every object in the JSON of an answer, the outermost last; none where it is no JSON.

    `{"status": 400, "error": "Bad Request", "response": {"message": [{"jid": …, "exists": false, "number": …}]}}` is
    Evolution's answer for a number that WhatsApp does not know, in all versions from 1.8 to 2.3.7.
    """
    found: list[dict[str, Any]] = []

    def see(one: dict[str, Any]) -> dict[str, Any]:
        found.append(one)
        return one

    try:
        json.loads(response.content, object_hook=see)
    except (ValueError, RecursionError):
        return []
    return found
