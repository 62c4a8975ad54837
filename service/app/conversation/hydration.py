"""A patient's context: who they are, what they said lately, what we remember, what the clinic offers."""

from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from app.conversation.message import Message
from app.observability.tracing import trace_span
from app.storage.cache import Cache
from app.storage.database import Connection

_BUNDLE_SECONDS = 300  # so long a new memory may be unknown; forgetting it at each message would make the cache useless
_CATALOG_SECONDS = 600
_HISTORY = 5
_MEMORIES = 10


@dataclass(frozen=True, slots=True)
class Context:
    """What an answer is made from.

    Attributes:
        name: of the patient, or empty.
        history: the newest earlier messages, newest first.
        memories: the newest memories, newest first.
        answers: text by topic, then language.
        prices: text by service, then language.
    """

    name: str
    history: list[str]
    memories: list[str]
    answers: dict[str, dict[str, str]]
    prices: dict[str, dict[str, str]]


async def hydrate(message: Message, cache: Cache, connection: Connection) -> Context:
    """Load the context, from the caches where they know it."""
    with trace_span("context.hydrate"):
        bundle = await cache.get("bundle", message.patient)
        if bundle is None:
            bundle = await _load_bundle(message, connection)
            await cache.set("bundle", message.patient, bundle, _BUNDLE_SECONDS)
        catalog = await cache.get("catalog", "all")
        if catalog is None:
            catalog = await _load_catalog(connection)
            await cache.set("catalog", "all", catalog, _CATALOG_SECONDS)
        history = await _load_history(message, connection)
        return Context(**bundle, history=history, **catalog)


async def _load_bundle(message: Message, connection: Connection) -> dict[str, Any]:
    with trace_span("hydration.query", {"query_type": "patient"}):
        name = await connection.fetchval(
            "insert into patients (patient, name) values ($1, $2) on conflict (patient) do update"
            " set name = case when excluded.name = '' then patients.name else excluded.name end returning name",
            message.patient,
            message.name,
        )
    with trace_span("hydration.query", {"query_type": "memories"}):
        rows = await connection.fetch(
            "select payload->>'data' as memory from memories where payload->>'user_id' = $1"
            " order by payload->>'created_at' desc limit $2",
            message.patient,
            _MEMORIES,
        )
    return {"name": name, "memories": [row["memory"] for row in rows]}


async def _load_history(message: Message, connection: Connection) -> list[str]:
    with trace_span("hydration.query", {"query_type": "history"}):
        rows = await connection.fetch(
            "select text from messages where patient = $1 and (instance, message_id) <> ($2, $3)"
            " order by received_at desc limit $4",
            message.patient,
            message.instance,
            message.message_id,
            _HISTORY,
        )
    return [row["text"] for row in rows]


async def _load_catalog(connection: Connection) -> dict[str, dict[str, dict[str, str]]]:
    with trace_span("hydration.query", {"query_type": "catalog"}):
        rows = await connection.fetch(
            "select 'answers' as part, topic as name, language, answer as text from answers"
            " union all select 'prices', service, language, amount from prices"
        )
    catalog: dict[str, dict[str, dict[str, str]]] = {"answers": {}, "prices": {}}
    for row in rows:
        catalog[row["part"]].setdefault(row["name"], {})[row["language"]] = row["text"]
    return catalog


async def free_slots(connection: Connection, zone: ZoneInfo) -> list[str]:
    """The next free slots, as texts, on the clock of this zone."""
    with trace_span("hydration.query", {"query_type": "slots"}):
        rows = await connection.fetch(
            "select starts_at from slots where not taken and starts_at > now() order by starts_at limit 3"
        )
    return [f"{row['starts_at'].astimezone(zone):%d/%m %H:%M}" for row in rows]
