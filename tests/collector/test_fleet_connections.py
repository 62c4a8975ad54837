"""A client of several Collectors does not stay with the first for ever, and loses nothing when it moves on."""

import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml

from app.observability import wire
from app.observability.channel import Grpc
from app.observability.export import Spool
from app.observability.lost_spans import LostSpans
from app.observability.tracer import Provider
from tools.base.otlp import SERVICE
from tools.base.otlp_sink import Sink
from tools.base.wait import until
from tools.model.contract import JOB
from tools.replay.collector import CONFIG, Collector

AGE = "receivers::otlp::protocols::grpc::keepalive::server_parameters::max_connection_age: 1s"  # 15 s as shipped
NAME = "lane_classification_total"


@contextmanager
def balancer(*targets: str) -> Iterator[str]:
    """Gives each new connection to the next of these addresses, as a load balancer for TCP does; yields its own."""
    listening = socket.create_server(("127.0.0.1", 0))
    sockets = [listening]

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with suppress(OSError):  # it was shut down
            for target in itertools.cycle(targets):
                client, _ = listening.accept()
                host, port = target.split(":")
                server = socket.create_connection((host, int(port)))
                sockets.extend((client, server))
                for pair in ((client, server), (server, client)):
                    threads.append(threading.Thread(target=pump, args=pair))
                    threads[-1].start()

    threads = [threading.Thread(target=accept)]
    threads[0].start()
    host, port = listening.getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        for one in sockets:
            one.close()


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[Collector, Collector]]:
    """Two Collectors whose connections grow a second old."""
    with Sink().listening() as store:
        made = [Collector(tmp_path / name, store.endpoint, changes=[AGE]) for name in ("one", "other")]
        with made[0].running() as one, made[1].running() as other:
            yield one, other


def counted(collector: Collector) -> float:
    """The spans that it took from us."""
    return collector.samples().get((NAME, frozenset({("job", JOB), ("lane", "other")})), 0)


def test_a_clients_spans_reach_every_collector_in_time_and_none_is_lost(both: tuple[Collector, Collector]) -> None:
    provider, lost, sent = Provider(), LostSpans(), 0
    tracer = provider.get_tracer("app.observability")
    with balancer(*(one.grpc for one in both)) as address:
        spool = Spool(Grpc(address), provider=provider, lost=lost, resource=wire.resource(SERVICE))

        def reached_both() -> bool:
            nonlocal sent
            for _ in range(10):
                tracer.start_span("lane.classify").end()
            sent += 10
            return all(map(counted, both))

        try:
            until(reached_both, "each has taken some", every=0.2)
            until(lambda: sum(map(counted, both)) == sent, "all are counted", every=0.2)
        finally:
            spool.shutdown()
    assert sum(lost.by_reason().values()) == 0


def test_the_shipped_connections_end_after_15_seconds_and_what_is_under_way_is_answered() -> None:
    receiver = yaml.safe_load(CONFIG.read_text("utf-8"))["receivers"]["otlp"]["protocols"]["grpc"]
    ages = {"max_connection_age": "15s", "max_connection_age_grace": "30s"}
    assert receiver["keepalive"] == {"server_parameters": ages}
