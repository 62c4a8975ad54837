"""A drill's watch hears each notification for what it means, whenever it comes."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tools.drill.system import System
from tools.drill.watch import Watch

ALERT = "DeliveriesKept"


class Told:
    """What Prometheus and the local receiver say now."""

    def __init__(self) -> None:
        self.state = ""
        self.notifications: list[dict[str, Any]] = []

    def notify(self, status: str) -> None:
        about = {"groupLabels": {"alertname": ALERT}, "status": status}
        self.notifications.append({"number": len(self.notifications) + 1, "notification": about})

    def answer(self, path: str) -> dict[str, Any]:
        if path.startswith("/notifications"):
            after = int(path.rpartition("=")[2])
            return {"heartbeat": None, "notifications": [n for n in self.notifications if n["number"] > after]}
        alerts = [{"labels": {"alertname": ALERT}, "state": self.state}] if self.state else []
        return {"status": "success", "data": {"alerts": alerts}}


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def watch(told: Told) -> Iterator[Watch]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(told.answer(self.path)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    with closing(Watch(cast(System, SimpleNamespace(url=lambda _: url)), {ALERT: ""})) as watch:
        yield watch
    server.shutdown()
    thread.join()
    server.server_close()


def see(watch: Watch, told: Told, state: str, status: str) -> None:
    told.state = state
    told.notify(status)
    watch.poll()


def test_an_alert_that_is_over_before_its_fault_is_has_cleared(watch: Watch, told: Told) -> None:
    see(watch, told, "firing", "firing")
    see(watch, told, "", "resolved")
    watch.end()
    watch.poll()
    assert watch.over
    assert watch.progress[ALERT].cleared == 0


def test_one_that_fires_again_has_not_cleared_until_it_is_told_so(watch: Watch, told: Told) -> None:
    see(watch, told, "firing", "firing")
    see(watch, told, "", "resolved")
    see(watch, told, "firing", "firing")
    watch.end()
    watch.poll()
    assert watch.progress[ALERT].cleared is None
    see(watch, told, "", "resolved")
    assert watch.over
