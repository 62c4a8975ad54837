"""What the faults do to the running stack."""

from collections.abc import Callable
from itertools import product
from typing import Any

import httpx

from tools.base.files import Sources
from tools.base.otlp import Spec
from tools.base.prometheus import Prometheus
from tools.base.wait import until
from tools.drill.restore import UNKNOWN_EVENT
from tools.drill.scene import Scene
from tools.model.contract import load


def slow(table: str, seconds: float, share: int = 100, each: str = "row") -> tuple[str, ...]:
    """Statements that let `share` percent of the inserts take so long; spread evenly, so that the share is exact."""
    name = f"slow_{table}"
    return (
        f"create sequence if not exists drill.{name}",
        f"create or replace function drill.{name}() returns trigger language plpgsql as $$ begin"
        f" if (nextval('drill.{name}') * {share}) % 100 < {share} then perform pg_sleep({seconds}); end if;"
        " return new; end $$",
        f"create or replace trigger {name} before insert on public.{table} for each {each}"
        f" execute function drill.{name}()",
    )


def burn(percent: int) -> Callable[[Scene], None]:
    """Let so many messages of a hundred take 0.7 s."""
    return lambda scene: scene.sql(*slow("messages", 0.7, percent))


def slow_database(scene: Scene) -> None:
    """Let each message take 5.5 s, and each new patient 0.4 s more."""
    scene.sql(*slow("messages", 3), *slow("jobs", 2.5, each="statement"), *slow("patients", 0.4))


def rename_service(scene: Scene) -> None:
    """Spans of a service that the Collector does not know."""
    scene.send_spans([Spec("lane.classify", {"lane": "faq"})] * 5, {"service.name": "another-backend"})


def keep_one(scene: Scene) -> None:
    """An event that no version of Evolution sends; a service out of breath is asked again, as Evolution does."""
    secret = scene.stack.service_environment()["WEBHOOK_SECRET"]
    url = scene.stack.url("service") + "/webhooks/evolution"

    def taken() -> bool:
        answer = httpx.post(url, content=UNKNOWN_EVENT, headers={"X-Webhook-Secret": secret}, trust_env=False)
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            answer.raise_for_status()
        return answer.is_success

    until(taken, "the service takes a delivery", seconds=30, every=1)


def flood(scene: Scene) -> None:
    """More label sets than the Collector holds, out of values that are all allowed."""
    contract = load(Sources.of_disk())
    keys = ("operation", "status", "query_type", "cache_type")
    sets = product(*(sorted(contract.closed_set(key)) for key in keys), ("hit", "miss"))
    specs = [Spec("lane.classify", {"lane": "faq"} | dict(zip((*keys, "result"), one, strict=True))) for one in sets]
    for start in range(0, len(specs), 500):
        scene.send_spans(specs[start : start + 500])


_MEMORY_BYTES = 300 * 2**20


def fill_memory(scene: Scene) -> None:
    """Spans until the Collector holds so much, then few."""
    with Prometheus(scene.stack.url("prometheus")) as prometheus:
        used = max((one.value for one in prometheus.query("otelcol_process_runtime_heap_alloc_bytes")), default=0.0)
    scene.send_spans([Spec("lane.classify", {"lane": "faq"})] * (3000 if used < _MEMORY_BYTES else 5))


def limit_target(config: dict[str, Any]) -> None:
    """Prometheus may take one sample from Alertmanager."""
    [job] = [job for job in config["scrape_configs"] if job["job_name"] == "alertmanager"]
    job["sample_limit"] = 1


BROKEN_RULE = """groups:
  - name: drill
    rules:
      - {record: 'drill:up:broken', expr: up * on () up}
"""


def no_alertmanager(config: dict[str, Any]) -> None:
    """Prometheus knows none."""
    config["alerting"]["alertmanagers"] = []


def failing_receiver(config: dict[str, Any]) -> None:
    """Alertmanager has one more receiver, which takes nothing."""
    [local] = [one for one in config["receivers"] if one["name"] == "local"]
    url = local["webhook_configs"][0]["url"].replace("/notifications", "/nowhere")
    config["receivers"].append({"name": "drill", "webhook_configs": [{"url": url}]})
    config["route"]["routes"].insert(0, {"receiver": "drill", "continue": True})


SMALL_QUEUE = "exporters::otlp_grpc::sending_queue::queue_size: 200000"
OTHER_BUCKETS = "connectors::span_metrics::histogram::explicit::buckets: [100ms, 300ms, 1s, 5s, 30s]"
HUNGRY = {"GOGC": "off", "GOMEMLIMIT": "off", "MEMORY_LIMIT_MIB": "4000"}
