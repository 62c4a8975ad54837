"""Traces, read back from the store."""

from collections import Counter

from tests.support.backend import Backend
from tools.base.wait import until
from tools.show.trace import STORES, fetch

# Spans by name and parent's name, of a SCHEDULING message whose patient's context and catalogue are not cached.
WHOLE = Counter(
    {
        ("POST /webhooks/evolution", ""): 1,
        ("message.process", "POST /webhooks/evolution"): 1,
        ("idempotency.check", "message.process"): 1,
        ("GET", "idempotency.check"): 1,
        ("db.acquire", "idempotency.check"): 1,
        ("BEGIN;", "idempotency.check"): 1,
        ("insert", "idempotency.check"): 1,
        ("context.hydrate", "message.process"): 1,
        ("cache.get", "context.hydrate"): 2,
        ("GET", "cache.get"): 2,
        ("cache.set", "context.hydrate"): 2,
        ("SET", "cache.set"): 2,
        ("hydration.query", "context.hydrate"): 4,
        ("insert", "hydration.query"): 1,
        ("select", "hydration.query"): 4,
        ("lane.classify", "message.process"): 1,
        ("hydration.query", "message.process"): 1,
        ("select", "message.process"): 1,
        ("insert", "message.process"): 1,
        ("COMMIT;", "message.process"): 1,
        ("idempotency.mark", "message.process"): 1,
        ("SET", "idempotency.mark"): 1,
        ("reply.send", "message.process"): 1,
        ("mem0.write", "message.process"): 1,
    }
)


def trace_of(backend: Backend, message_id: str) -> str:
    """The id of the trace in which a message was handled, from its jobs."""
    ((traceparent,),) = backend.rows("select distinct traceparent from jobs where message_id = %s", message_id)
    return str(traceparent).split("-")[1]


def spans(backend: Backend, trace_id: str) -> Counter[tuple[str, str]]:
    """How many spans the store has of a trace, by name and parent's name."""
    store = backend.stack.store
    found = fetch(trace_id, [backend.stack.url(store) + STORES[store]])
    names = {span.span_id: span.name for span in found}
    return Counter((span.name, names.get(span.parent_id, "")) for span in found)


def whole_trace_is_stored(backend: Backend, trace_id: str) -> None:
    """Wait until the store has exactly the spans of WHOLE."""
    try:
        until(lambda: spans(backend, trace_id) == WHOLE, "the trace is stored", every=0.5)
    except TimeoutError:
        assert spans(backend, trace_id) == WHOLE
