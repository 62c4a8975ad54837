"""The same trace in the other store, where its program is at hand: Tempo can't be built from a module proxy."""

import pytest

from tests.support.backend import Backend, event, new_id, patient
from tests.support.stored import trace_of, whole_trace_is_stored
from tools.base.wait import until
from tools.stack import programs


@pytest.mark.skipif(not programs.on_path("tempo"), reason=f"tempo {programs.TEMPO} is not on the PATH")
def test_a_message_is_one_trace_in_tempo(tmp_path_factory: pytest.TempPathFactory) -> None:
    backend = Backend(tmp_path_factory.mktemp("tempo"), store="tempo")
    try:
        backend.stack.up(only=[name for name in backend.stack.names if name != "prometheus"])
        message_id = new_id()
        number = patient()
        backend.post(event(number, "Quero agendar", message_id))
        until(lambda: backend.settled(number), "the jobs are done")
        whole_trace_is_stored(backend, trace_of(backend, message_id))
    finally:
        backend.http.close()
        backend.stack.remove()
