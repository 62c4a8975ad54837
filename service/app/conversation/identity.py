"""One patient, one name: what was stored under a hidden id moves to the number as soon as both are seen together.

WhatsApp shows the number in one message and hides it in the next (evolution-api#1872), so a hidden id that was seen
with a number once stands for that number from then on.
"""

from dataclasses import replace

from app.conversation.message import Message
from app.observability.tracing import trace_span
from app.storage.cache import Cache
from app.storage.database import Connection

_KNOWN = "select patient from hidden_ids where lid = $1"
_MOVE_MESSAGES = "update messages set patient = $2 where patient = $1"
_MOVE_JOBS = "update jobs set patient = $2 where patient = $1"
_MOVE_THE_REST = """
    with messages_moved as (update messages set patient = $2 where patient = $1),
    memories_moved as (
        update memories set payload = jsonb_set(payload, '{user_id}', to_jsonb($2::text))
        where payload->>'user_id' = $1
    ),
    gone as (delete from patients where patient = $1 returning name, first_seen)
    insert into patients (patient, name, first_seen) select $2, name, first_seen from gone
    on conflict (patient) do update set first_seen = least(patients.first_seen, excluded.first_seen),
        name = case when patients.name = '' then excluded.name else patients.name end
"""


async def identify(message: Message, cache: Cache, connection: Connection) -> Message:
    """The message of the patient by number, as far as anybody knows; in the transaction that claimed it."""
    if not message.lid:
        return message
    with trace_span("patient.identify"):
        number = "" if message.patient == message.lid else message.patient
        known = await connection.fetchval(_KNOWN, message.lid)
        if known is None or number not in ("", known):
            # One at a time for an id, else a message that knows the id alone could be stored beside the move.
            await connection.execute("select pg_advisory_xact_lock(hashtextextended($1, 0))", message.lid)
            known = await connection.fetchval(_KNOWN, message.lid)
            if number not in ("", known):
                await _learn(message.lid, number, cache, connection)
                known = number
        if known and not number:  # claimed under the id
            await connection.execute(_MOVE_MESSAGES, message.lid, known)
        return replace(message, patient=known or message.lid)


async def _learn(lid: str, number: str, cache: Cache, connection: Connection) -> None:
    await connection.execute(
        "insert into hidden_ids (lid, patient) values ($1, $2)"
        " on conflict (lid) do update set patient = excluded.patient",
        lid,
        number,
    )
    await connection.execute(_MOVE_JOBS, lid, number)  # one in work is waited for, so that its memory is there to move
    await connection.execute(_MOVE_THE_REST, lid, number)
    for name in (lid, number):  # what is cached lacks the other's memories
        await cache.delete("bundle", name)
