"""Thanos over a pair of Prometheus: a sidecar each, a Store for the bucket, a Query for all three."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.scale.pair import Member, Pair, numbered
from tests.support.fleet import Fleet
from tools.stack import processes
from tools.stack.ports import HOST, loopback
from tools.stack.processes import Component, answers


@dataclass
class Query(Fleet):
    """The same Collectors, asked through Query."""

    url: str
    pair: Pair
    bucket: Path
    processes: Mapping[str, psutil.Popen]
    """By the names of docker-compose.scale.yaml."""

    def api(self, path: str, **parameters: str) -> Any:
        """The data of an answer of Query's API, which is Prometheus'."""
        return self.client.get(f"{self.url}/api/v1/{path}", params=parameters).raise_for_status().json()["data"]


@contextmanager
def over(pair: Pair, program: str) -> Iterator[Query]:
    """All of it, ready, stopped at the end."""
    bucket = pair.folder / "bucket"
    bucket.mkdir()
    parts = _parts(pair, program, bucket)
    with ExitStack() as exits:
        started = {part.name: _started(part, pair.folder, exits) for part in parts}
        for part in parts:
            processes.wait_ready(part, started[part.name], pair.folder)
        alone, third = pair.each[0], pair.members[2]
        query = Query(
            alone.collectors, third, alone.client, alone.store, third.url("prometheus"), pair, bucket, started
        )
        query.all_are_scraped()
        yield query


def _parts(pair: Pair, program: str, bucket: Path) -> list[Component]:
    """On ports of what does not run here."""

    def part(name: str, role: str, http: int, grpc: int, *flags: str) -> Component:
        listens = (f"--http-address={HOST}:{http}", f"--grpc-address={HOST}:{grpc}")
        ready = loopback(http, "/-/ready")
        return Component(name, (program, role, *listens, *flags), ready=lambda: answers(ready))

    def sidecar(member: Member) -> Component:
        of = (f"--prometheus.url={member.url('prometheus')}", f"--tsdb.path={member.folder / 'prometheus' / 'data'}")
        name = numbered("thanos-sidecar", member.number)
        return part(name, "sidecar", member.ports.tempo, member.ports.tempo_otlp, *of, objects)

    objects = f"--objstore.config={{type: FILESYSTEM, config: {{directory: {bucket}}}}}"
    third = pair.members[2].ports
    kept = (f"--data-dir={pair.folder / 'store'}", "--sync-block-duration=2s", objects)
    endpoints = (f"--endpoint={HOST}:{one.ports.tempo_otlp}" for one in pair.members)
    same = ("--query.replica-label=replica", "--query.replica-label=notify")
    return [
        *map(sidecar, pair.members[:2]),
        part("thanos-store", "store", third.tempo, third.tempo_otlp, *kept),
        part("thanos-query", "query", third.prometheus, third.tempo_internal, *same, *endpoints),
    ]


def _started(part: Component, folder: Path, exits: ExitStack) -> psutil.Popen:
    process = processes.start(part, folder)
    exits.callback(process.wait, processes.KILL_SECONDS)
    exits.callback(processes.kill, process)
    return process
