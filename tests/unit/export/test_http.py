"""OTLP over HTTP: each status is taken as the specification means it, and a connection is kept while it lives."""

import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from app.observability.channel import CallError, Failure, Http
from tools.base.otlp_sink import Sink
from tools.base.wait import until


def nothing() -> None:
    pass


class Answering(ThreadingHTTPServer):
    """Answers with `status`; closes each connection after it, without a word, if `closes`."""

    status = 200
    closes = False
    asked = 0
    connections = 0
    daemon_threads = True


@pytest.fixture
def server() -> Iterator[Answering]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            here.connections += 1
            super().setup()

        def do_POST(self) -> None:
            here.asked += 1
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(here.status)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(self.headers["X-Key"].encode().ljust(4))
            self.close_connection = here.closes

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    here = Answering(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=here.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield here
    here.shutdown()
    thread.join()
    here.server_close()


@pytest.fixture
def to(server: Answering) -> Iterator[Http]:
    with closing(Http(f"http://127.0.0.1:{server.server_address[1]}/v1/traces", {"X-Key": "abcd"})) as channel:
        yield channel


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        *((status, Failure.AWAY) for status in (429, 502, 503, 504)),
        *((status, Failure.REFUSED) for status in (401, 403, 404, 405, 415)),
        *((status, Failure.CONTENT) for status in (302, 400, 413, 422, 500)),
    ],
)
def test_a_status_is_what_the_specification_says(server: Answering, to: Http, status: int, failure: Failure) -> None:
    server.status = status
    with pytest.raises(CallError) as caught:
        to.call(b"", 60, nothing)
    assert caught.value.failure is failure


def test_headers_are_sent_and_a_connection_is_kept(server: Answering, to: Http) -> None:
    assert [to.call(b"", 60, nothing) for _ in range(3)] == [b"abcd"] * 3
    assert server.connections == 1


def test_a_connection_that_was_closed_while_it_was_idle_costs_no_call(server: Answering, to: Http) -> None:
    server.closes = True
    for _ in range(3):
        assert to.call(b"", 60, nothing) == b"abcd"
        until(lambda: to._readable(0), "the other side has closed it")
    assert (server.asked, server.connections) == (3, 3)


def test_nobody_there_is_away() -> None:
    with pytest.raises(CallError) as caught:
        Http("http://127.0.0.1:9/v1/traces").call(b"", 60, nothing)
    assert caught.value.failure is Failure.AWAY


def test_the_caller_is_heard_while_the_answer_is_waited_for_and_the_time_is_kept() -> None:
    heard: list[None] = []
    with Sink("http/protobuf").listening() as sink:
        sink.answer("hang")
        with pytest.raises(CallError) as caught:
            Http(f"http://{sink.endpoint}/v1/traces").call(b"", 0.5, lambda: heard.append(None))
    assert caught.value.failure is Failure.NO_ANSWER
    assert len(heard) > 1
