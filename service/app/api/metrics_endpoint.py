"""`/metrics` and `/metrics/summary`: what the Collector derived, or all Collectors. The service itself counts nothing.

Of several Collectors one knows its share only, so a Prometheus is asked then: `PROMETHEUS_QUERY_URL`. The header
`X-Metrics-From` of an answer says who was.

Point Prometheus at the Collector, not here: scraping both would double every sum.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

import httpx
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from prometheus_client.parser import text_string_to_metric_families

from app.api import all_collectors
from app.observability.contract import contract

router = APIRouter()

_TIMEOUT = httpx.Timeout(2.0, connect=0.5)
_PASSED_IN = ("accept", "accept-encoding")
_PASSED_OUT = ("content-type", "content-encoding")
_TEXT = "text/plain; version=0.0.4; charset=utf-8"

_UNREACHABLE = (httpx.HTTPError, RuntimeError)  # RuntimeError: the client is closed, see _client

Samples = Mapping[str, list[tuple[Mapping[str, str], float]]]


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """The Collector's exposition, passed on in the format asked for, or Prometheus' as text; 503 without an answer."""
    if _prometheus(request):
        try:
            return Response(await _of_all(request), media_type=_TEXT, headers=_said_by(request))
        except (*_UNREACHABLE, ValueError):
            return _unreachable(request)
    headers = {name: request.headers[name] for name in _PASSED_IN if name in request.headers}
    try:
        client = _client(request)
        upstream = await client.send(
            client.build_request(
                "GET", _url(request), headers={"accept-encoding": "identity"} | headers, timeout=_TIMEOUT
            ),
            stream=True,
        )
    except _UNREACHABLE:
        return _unreachable(request)
    return StreamingResponse(
        _stream(upstream),
        upstream.status_code,
        {name: upstream.headers[name] for name in _PASSED_OUT if name in upstream.headers} | _said_by(request),
    )


@router.get("/metrics/summary")
async def summary(request: Request) -> JSONResponse:
    """Totals since the Collector's start, or each Collector's, as JSON; 503 when who knows them can't be reached."""
    try:
        totals = summarise(await (_of_all if _prometheus(request) else _of_one)(request), contract().lanes)
    except (*_UNREACHABLE, ValueError):  # ValueError: no exposition, so no Collector
        return _unreachable(request)
    return JSONResponse(totals, headers=_said_by(request))


async def _of_one(request: Request) -> str:
    response = await _client(request).get(_url(request), headers={"accept": "text/plain"}, timeout=_TIMEOUT)
    return response.raise_for_status().text


async def _of_all(request: Request) -> str:
    return await all_collectors.exposition(_client(request), str(_prometheus(request)), contract(), _TIMEOUT)


def summarise(exposition: str, lanes: Sequence[str]) -> dict[str, dict[str, float | int]]:
    """The documented summary of a text exposition; what was never counted is 0, `hit_rate` a percentage."""
    samples = _samples(exposition)
    hits, misses = _total(samples, "cache_hits_total"), _total(samples, "cache_misses_total")
    return {
        "requests": {"total": _total(samples, "webhook_requests_total")},
        "cache": {
            "hits": hits,
            "misses": misses,
            "hit_rate": round(100 * hits / (hits + misses), 1) if hits + misses else 0.0,
        },
        "mem0": {
            "queue_size": int(max((value for _, value in samples.get("mem0_write_queue_size", [])), default=0)),
            "writes": _total(samples, "mem0_writes_total"),
        },
        "lanes": {lane: _total(samples, "lane_classification_total", lane=lane) for lane in lanes},
        "errors": {"total": _total(samples, "errors_total")},
        "duplicates": {"total": _total(samples, "duplicate_messages_total")},
    }


def _samples(exposition: str) -> Samples:
    samples: dict[str, list[tuple[Mapping[str, str], float]]] = defaultdict(list)
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            samples[sample.name].append((sample.labels, sample.value))
    return samples


def _total(samples: Samples, name: str, **labels: str) -> int:
    matching: Iterable[float] = (
        value
        for found, value in samples.get(name, [])
        if all(found.get(key) == wanted for key, wanted in labels.items())
    )
    return int(sum(matching))


async def _stream(upstream: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in upstream.aiter_raw():
            yield chunk
    finally:
        await upstream.aclose()


def _client(request: Request) -> httpx.AsyncClient:
    """The service's client; RuntimeError before and after serving, as a closed one raises."""
    if request.app.state.phase != "serving":
        raise RuntimeError
    client: httpx.AsyncClient = request.app.state.http
    return client


def _url(request: Request) -> str:
    url: str = request.app.state.settings.collector_metrics_url
    return url


def _prometheus(request: Request) -> str | None:
    url: str | None = request.app.state.settings.prometheus_query_url
    return url


def _said_by(request: Request) -> dict[str, str]:
    return {"x-metrics-from": "prometheus" if _prometheus(request) else "collector"}


def _unreachable(request: Request) -> JSONResponse:
    who = "Prometheus" if _prometheus(request) else "the Collector"
    return JSONResponse({"error": f"{who} can't be reached, so there are no metrics now"}, 503, _said_by(request))
