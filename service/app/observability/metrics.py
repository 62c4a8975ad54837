"""One helper for each documented metric. Each makes a span, from which the Collector derives the metric.

Label values outside of the contract's closed sets are shown as `other`. Durations are seconds; a negative or infinite
one, or NaN, raises ValueError.
"""

from app.observability.levels import QUEUE_SIZE
from app.observability.tracing import span_of


def observe_request_latency(*, endpoint: str, lane: str, status: str, duration_seconds: float) -> None:
    """A webhook request that has no SERVER span: `webhook_request_duration_seconds`, `webhook_requests_total`."""
    attributes = {"endpoint": endpoint, "lane": lane, "status": status}
    span_of("webhook.request", attributes, duration_seconds, failed=status == "error")


def observe_idempotency_check(*, result: str, duration_seconds: float) -> None:
    """A check with result `new` or `duplicate`: `idempotency_check_duration_seconds`, `duplicate_messages_total`."""
    span_of("idempotency.check", {"result": result}, duration_seconds)


def observe_cache_hit(*, cache_type: str) -> None:
    """A look-up that found its entry: `cache_hits_total`."""
    span_of("cache.lookup", {"cache_type": cache_type, "result": "hit"}, 0)


def observe_cache_miss(*, cache_type: str) -> None:
    """A look-up that did not find its entry: `cache_misses_total`."""
    span_of("cache.lookup", {"cache_type": cache_type, "result": "miss"}, 0)


def observe_cache_operation(*, operation: str, cache_type: str, duration_seconds: float) -> None:
    """A cache operation, `get`, `set` or `delete`: `cache_operation_duration_seconds`."""
    name = f"cache.{operation}" if operation in ("get", "set", "delete") else "cache.get"
    span_of(name, {"cache_type": cache_type, "operation": operation}, duration_seconds)


def observe_hydration(*, duration_seconds: float) -> None:
    """A patient's context was loaded: `context_hydration_duration_seconds`."""
    span_of("context.hydrate", {}, duration_seconds)


def observe_hydration_query(*, query_type: str) -> None:
    """One query of a hydration, for instance `patient`: `hydration_queries_total`."""
    span_of("hydration.query", {"query_type": query_type}, 0)


def observe_lane_classification(*, lane: str, duration_seconds: float) -> None:
    """A message was sorted into its lane: `lane_classification_total`, `classification_duration_seconds`."""
    span_of("lane.classify", {"lane": lane}, duration_seconds)


def observe_database_query(*, operation: str, status: str, duration_seconds: float) -> None:
    """A query that has no span of asyncpg: `database_query_duration_seconds`, `database_queries_total`."""
    span_of("db.query", {"operation": operation, "status": status}, duration_seconds, failed=status == "error")


def observe_mem0_write(*, status: str, duration_seconds: float) -> None:
    """An attempt, `success`, `error` or `dead`: `mem0_writes_total`, `mem0_write_duration_seconds`."""
    span_of("mem0.write", {"status": status}, duration_seconds, failed=status != "success")


def observe_reply_send(*, status: str, duration_seconds: float) -> None:
    """An attempt, `success`, `error` or `dead`: `reply_sends_total`, `reply_send_duration_seconds`."""
    span_of("reply.send", {"status": status}, duration_seconds, failed=status != "success")


def observe_delivery_kept(*, status: str) -> None:
    """A delivery was not understood and is kept; it was `ignored` or `rejected`: `deliveries_kept_total`."""
    span_of("delivery.keep", {"status": status}, 0)


def observe_error(*, error_type: str, component: str) -> None:
    """An error was handled, where no span of one's own can carry it: `errors_total`."""
    span_of("error.handled", {"error.type": error_type, "component": component}, 0, failed=True)


def observe_mem0_queue_size(*, size: int) -> None:
    """The memory jobs that wait or are in work now: `mem0_write_queue_size`. Repeat it within 30 s, or it is unknown.

    Raises:
        ValueError: the size is negative.
    """
    if size < 0:
        raise ValueError("size must not be negative")
    QUEUE_SIZE.set(size)
