"""What instrumented code may rely on in `app.observability`: a name or a parameter that changes here breaks callers."""

import inspect

import pytest

import app.observability as surface

PARAMETERS = {
    "add_span_event": "(name)",
    "init_tracing": "(service_name='healthcare-backend', enable_console=False)",
    "observe_cache_hit": "(*, cache_type)",
    "observe_cache_miss": "(*, cache_type)",
    "observe_cache_operation": "(*, operation, cache_type, duration_seconds)",
    "observe_database_query": "(*, operation, status, duration_seconds)",
    "observe_delivery_kept": "(*, status)",
    "observe_error": "(*, error_type, component)",
    "observe_hydration": "(*, duration_seconds)",
    "observe_hydration_query": "(*, query_type)",
    "observe_idempotency_check": "(*, result, duration_seconds)",
    "observe_lane_classification": "(*, lane, duration_seconds)",
    "observe_mem0_queue_size": "(*, size)",
    "observe_mem0_write": "(*, status, duration_seconds)",
    "observe_reply_send": "(*, status, duration_seconds)",
    "observe_request_latency": "(*, endpoint, lane, status, duration_seconds)",
    "trace_span": "(name, attributes=None, *, kind=<SpanKind.INTERNAL: 0>, context=None)",
}


def test_the_public_names_are_these_and_no_others() -> None:
    assert surface.__all__ == list(PARAMETERS)


@pytest.mark.parametrize("name", surface.__all__)
def test_a_public_functions_parameters_stay_as_they_are(name: str) -> None:
    signature = inspect.signature(getattr(surface, name))
    bare = [one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == PARAMETERS[name]
