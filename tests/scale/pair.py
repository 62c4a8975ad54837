"""Two Prometheus of three Collectors, and three Alertmanagers that gossip.

They read what docker-compose.scale.yaml gives them, but for addresses and times: the rules of `make drill`, a second
between scrapes and evaluations, a block a minute.
"""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from operator import ge
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml
from fastapi import FastAPI

from simulator.notifications import Received, router
from tests.support.fleet import SECONDS, Fleet, Watching
from tests.support.serving import serving
from tools.base.otlp_sink import Sink
from tools.base.wait import until
from tools.drill.shortened import notify_quickly, write_rules
from tools.replay.collector import Collector
from tools.stack.ports import HOST, Ports
from tools.stack.processes import Component
from tools.stack.programs import ROOT

PROMETHEUS = ROOT / "prometheus"
BLOCKS = ("--storage.tsdb.min-block-duration=1m", "--storage.tsdb.max-block-duration=1m")
PEER_SECONDS = 5
"""For so long, times its position, an Alertmanager waits for those before it; 15 are the default."""
GROUP_INTERVAL = "10s"
"""Ten evaluations; shipped are twenty. Two Prometheus see an end at different times; within one it is told once."""
Notification = dict[str, Any]
T = TypeVar("T")


def numbered(name: str, number: int) -> str:
    """A service's name in docker-compose.scale.yaml: the first is as it was."""
    return name if number == 0 else f"{name}-{number + 1}"


class Member(Watching):
    """An Alertmanager and, of the first two, a Prometheus."""

    def __init__(self, folder: Path, number: int) -> None:
        super().__init__(folder)
        self.number = number
        self.members: Sequence[Member] = ()

    @property
    def gossip(self) -> str:
        """Where its Alertmanager talks to the others; the port of something that does not run here."""
        return f"{HOST}:{self.ports.redis}"

    def _component(self, name: str, *arguments: Any, **more: Any) -> Component:
        part = super()._component(name, *arguments, **more)
        if name == "prometheus":
            replica = {**part.environment, "REPLICA": str(self.number)}
            return replace(part, command=(*part.command, *BLOCKS), environment=replica, prepare=self._see_all)
        alone = [word for word in part.command if not word.startswith("--cluster.")]
        peers = [f"--cluster.peer={one.gossip}" for one in self.members]
        waits = f"--cluster.peer-timeout={PEER_SECONDS}s"
        together = (f"--cluster.listen-address={self.gossip}", waits, *peers)
        return replace(part, command=(*alone, *together), prepare=lambda: self._hurry(part))

    def _hurry(self, part: Component) -> None:
        part.prepare()
        file = self.folder / "alertmanager" / "alertmanager.yml"
        config = yaml.safe_load(file.read_text("utf-8"))
        notify_quickly(config)
        for route in (config["route"], *config["route"]["routes"]):
            route["group_interval"] = GROUP_INTERVAL
        file.write_text(yaml.safe_dump(config), "utf-8")

    def _see_all(self) -> None:
        command = ("sed", "-f", str(PROMETHEUS / "pair.sed"), str(PROMETHEUS / "prometheus.yml"))
        made = subprocess.check_output(command, text=True)
        config = yaml.safe_load(made.replace(": 5s", f": {SECONDS}s").replace(": 15s", f": {SECONDS}s"))
        addresses = self._addresses()
        for job in config["scrape_configs"]:
            [group] = job["static_configs"]  # each keeps the name that it has there
            named = [{"targets": [addresses[name]], "labels": {"instance": name}} for name in group["targets"]]
            job["static_configs"] = named
        for job in config["alerting"]["alertmanagers"]:
            [group] = job["static_configs"]
            group["targets"] = [addresses[name] for name in group["targets"]]
        config["rule_files"] = write_rules(self.folder.parent / "rules")  # the same for both: a path tells groups apart
        (self.folder / "prometheus").mkdir(parents=True, exist_ok=True)
        (self.folder / "prometheus" / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")

    def _addresses(self) -> dict[str, str]:
        addresses: dict[str, str] = {}
        for number, one in enumerate(self.collectors):
            name = numbered("otel-collector", number)
            addresses |= {f"{name}:8889": one.derived, f"{name}:8888": one.own}
        for number, member in enumerate(self.members):
            addresses[f"{numbered('alertmanager', number)}:9093"] = f"{HOST}:{member.ports.alertmanager}"
            addresses[f"{numbered('prometheus', number)}:9090"] = f"{HOST}:{member.ports.prometheus}"
        return addresses


@dataclass
class Pair:
    """All of it. `each` asks one Prometheus."""

    folder: Path
    members: Sequence[Member]
    each: tuple[Fleet, Fleet]
    received: Received

    def notified(self, alert: str) -> list[Notification]:
        """What the local receiver got of an alert, in order."""
        sent = [one["notification"] for one in self.received.newest]
        return [one for one in sent if one["groupLabels"].get("alertname") == alert]

    def all_have_looked(self) -> None:
        """Wait until each Alertmanager has come to each of its groups twice, and could have notified again."""
        before = self._looked_up()
        groups = max(len(_get(one, "/api/v2/alerts/groups").json()) for one in self.members)
        wanted = [looked + 3 * groups for looked in before]
        until(lambda: all(map(ge, self._looked_up(), wanted)), "all have looked", seconds=300, every=0.5)

    def _looked_up(self) -> list[float]:
        """How often each has asked what was sent already, which it does before it sends."""
        name = "alertmanager_nflog_queries_total"
        lines = [_get(one, "/metrics").text.splitlines() for one in self.members]
        return [sum(float(line.split()[-1]) for line in of if line.startswith(name)) for of in lines]


def _get(member: Member, path: str) -> httpx.Response:
    return httpx.get(f"{member.url('alertmanager')}{path}", timeout=30, trust_env=False).raise_for_status()


@contextmanager
def running(folder: Path) -> Iterator[Pair]:
    """All of it, ready; stopped at the end whatever happens in between."""
    members = [Member(folder / f"member-{number}", number) for number in range(3)]
    receiver = FastAPI()
    receiver.state.notifications = Received()
    receiver.include_router(router)
    with ExitStack() as exits:
        store = exits.enter_context(Sink().listening())
        notified = int(exits.enter_context(serving(receiver)).rpartition(":")[2])
        taken: set[int] = set()
        for member in members:
            member.ports = _apart(Ports.free, lambda ports: set(asdict(ports).values()), taken)
        collectors = [
            _apart(partial(_collector, folder / f"collector-{number}", store, members), _listens, taken)
            for number in range(3)
        ]
        for member in members:
            member.members, member.collectors = members, collectors
            member.ports = replace(member.ports, simulator=notified)
            exits.callback(member.remove)
        for one in collectors:
            one.start()
            exits.callback(_end, one)
        for member in members:
            member.up(only=("alertmanager", *(("prometheus",) if member.number < 2 else ())))
        client = exits.enter_context(httpx.Client(timeout=30, trust_env=False))
        each = (Fleet(collectors, members[0], client, store), Fleet(collectors, members[1], client, store))
        for asked in each:
            asked.all_are_scraped()
        yield Pair(folder, members, each, receiver.state.notifications)


def _apart(make: Callable[[], T], listens: Callable[[T], set[int]], taken: set[int]) -> T:
    """One whose free ports are nobody else's, so soon that nobody listens on any yet."""
    while not taken.isdisjoint(listens(made := make())):
        pass
    taken |= listens(made)
    return made


def _listens(collector: Collector) -> set[int]:
    addresses = (collector.grpc, collector.http, collector.derived, collector.own, collector.health)
    return {int(address.rpartition(":")[2]) for address in addresses}


def _collector(folder: Path, store: Sink, members: Sequence[Member]) -> Collector:
    first, second = (member.url("prometheus") for member in members[:2])
    to_second = f"exporters::otlp_http/second::endpoint: {second}/api/v1/otlp"
    file = ROOT / "otel-collector" / "pair.yaml"
    return Collector(folder, store.endpoint, extras=file, interval=f"{SECONDS}s", changes=[to_second], prometheus=first)


def _end(collector: Collector) -> None:
    if collector.process.poll() is None:
        collector.stop()
