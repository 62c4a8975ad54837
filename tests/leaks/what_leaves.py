"""All that leaves the whole stack.

A part of the system that is added later adds what leaves it with one function:

    @output
    def mails(whole: Whole) -> dict[str, bytes]: ...
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import yaml

from tests.leaks import otlp_canaries
from tests.leaks.reading_outputs import HTTP, answered, exposition, files
from tests.leaks.whole_stack import Whole, spans
from tools.base.wait import until
from tools.stack.ports import HOST
from tools.stack.programs import ROOT
from tools.stack.stack import Stack

Output = Callable[[Whole], Mapping[str, bytes]]
OUTPUTS: list[Output] = []


def output(read: Output) -> Output:
    """Add what leaves somewhere to what is searched."""
    OUTPUTS.append(read)
    return read


def everything(whole: Whole) -> dict[str, bytes]:
    """All that has left, by a name."""
    return {name: content for read in OUTPUTS for name, content in read(whole).items()}


# Labels that the alert has itself are kept under other names: without them two series may be one, which fails the rule.
EVERYTHING = """
groups:
  - name: everything
    interval: 1s
    rules:
      - alert: Everything
        expr: >-
          label_replace(label_replace(label_replace({job="healthcare-backend", alertname!="Everything"},
          "metric", "$1", "__name__", "(.+)"), "alert", "$1", "alertname", "(.+)"), "level", "$1", "severity", "(.+)")
        labels: {severity: critical}
        annotations: {summary: "{{ $labels }}", description: "{{ $value }}"}
"""


@output
def notifications(whole: Whole) -> dict[str, bytes]:
    """An alert on each series with all its labels, as everybody is told of it; what Alertmanager shows and keeps."""
    stack = whole.backend.stack
    rules = stack.folder / "everything.yaml"
    rules.write_text(EVERYTHING)
    with edited(stack, "prometheus") as config:
        config["rule_files"].append(str(rules))
    with edited(stack, "alertmanager") as config:
        for route in config["route"]["routes"]:
            route["group_wait"] = "1s"
    local = f"{stack.url('simulator')}/notifications"
    until(lambda: b"Everything" in HTTP.get(local).content, "somebody is told of everything", seconds=150)
    url = stack.url("alertmanager")
    paths = ("alerts", "alerts/groups", "silences", "status", "receivers")
    shown = {f"Alertmanager, {path}": answered(HTTP.get(f"{url}/api/v2/{path}")) for path in paths}
    return {
        "notifications": answered(HTTP.get(local)),
        **shown,
        **exposition(f"{url}/metrics"),
        **files(stack.folder / "alertmanager"),
    }


@contextmanager
def edited(stack: Stack, name: str) -> Iterator[dict[str, Any]]:
    """Change a component's configuration and let it load it."""
    file = stack.folder / name / f"{name}.yml"
    config = yaml.safe_load(file.read_text())
    yield config
    file.write_text(yaml.safe_dump(config))
    HTTP.post(f"{stack.url(name)}/-/reload").raise_for_status()


@output
def otlp_of_the_service(whole: Whole) -> dict[str, bytes]:
    """Every byte on the wire to the Collector, and the same decoded."""
    calls = list(whole.wire.calls)
    decoded = [otlp_canaries.leaves(export) for export in whole.wire.exports().values()]
    return {
        "service, OTLP": b"\n".join(dict.fromkeys(body for _, _, body in calls)),
        "service, headers of OTLP": b"\n".join({headers for _, headers, _ in calls}),
        **{f"service, {path}": content for leaves in decoded for path, content in leaves.items()},
    }


@output
def logs(whole: Whole) -> dict[str, bytes]:
    """Of every process."""
    stack = whole.backend.stack
    return {f"log of {name}": stack.log(name).read_bytes() for name in stack.names}


@output
def answers(whole: Whole) -> dict[str, bytes]:
    """All that callers were told, and what the endpoints say now."""
    backend = whole.backend
    paths = ("/health", "/metrics/summary", "/metrics")
    return {
        "answers": b"\n".join(dict.fromkeys(whole.answers)),
        **{path: answered(backend.http.get(backend.url(path))) for path in paths},
        **exposition(backend.url("/metrics")),
    }


@output
def collector(whole: Whole) -> dict[str, bytes]:
    """What the Collector shows and keeps."""
    ports, folder = whole.backend.stack.ports, whole.backend.stack.folder
    return {
        **exposition(f"http://{HOST}:{ports.collector_derived}/metrics"),
        **exposition(f"http://{HOST}:{ports.collector_own}/metrics"),
        "Collector, health": answered(HTTP.get(f"http://{HOST}:{ports.collector_health}/")),
        **files(folder / "otel-collector"),
    }


@output
def prometheus(whole: Whole) -> dict[str, bytes]:
    """All that Prometheus can be asked for, and its files."""
    url = whole.backend.stack.url("prometheus")
    everything = '{__name__=~".+"}'
    queries = {
        "series": {"match[]": everything},
        "query": {"query": everything},
        "query_exemplars": {"query": everything, "start": "0", "end": "99999999999"},
        "metadata": {},
        "labels": {},
        "targets": {},
        "rules": {},
        "alerts": {},
        "status/config": {},
        "status/flags": {},
        "status/tsdb": {},
    }
    names = HTTP.get(f"{url}/api/v1/labels").json()["data"]
    queries |= {f"label/{name}/values": {} for name in names}
    found = {
        f"Prometheus, {path}": answered(HTTP.get(f"{url}/api/v1/{path}", params=query))
        for path, query in queries.items()
    }
    return {**found, **exposition(f"{url}/metrics"), **files(whole.backend.stack.folder / "prometheus")}


@output
def traces(whole: Whole) -> dict[str, bytes]:
    """Every trace, read back from the store, and one as `make trace` prints it."""
    backend = whole.backend
    url = backend.stack.url("jaeger")
    ids = sorted({span.trace_id.hex() for span in spans(whole)})
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda one: HTTP.get(f"{url}/api/v3/traces/{one}").content, ids))
    assert sum(b"spanId" in one for one in found) == len(ids)
    listed = [
        answered(HTTP.get(f"{url}/api/v3/{path}")) for path in ("services", "operations?service=healthcare-backend")
    ]
    environment = os.environ | backend.stack.service_environment()
    command = [sys.executable, "-m", "tools.cli", "trace", ids[0]]
    printed = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=True).stdout
    return {"store, traces": b"\n".join(found), "store, names": b"\n".join(listed), "make trace": printed}
