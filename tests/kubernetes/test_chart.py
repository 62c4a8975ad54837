"""The chart becomes what the repository ships, and what it becomes fits together."""

import re
import shutil
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

import app
from tests.kubernetes.conftest import CHART, CLUSTER, RELEASE, Helm, Manifest, made, template
from tests.kubernetes.loose_ends import container, environment, loose_ends, may_reach, of_kind
from tools.stack.programs import ROOT, ensure

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text("utf-8"))["services"]
COLLECTOR: dict[str, Any] = yaml.safe_load((ROOT / "otel-collector" / "config.yaml").read_text("utf-8"))
PROMETHEUS: dict[str, Any] = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text("utf-8"))
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
SERVICE, WORKER, COLLECTORS = (f"{RELEASE}-{name}" for name in ("service", "worker", "collector"))
FLUSH_AND_SCRAPE = 16  # seconds from the last span to its scrape: as the Collector's guard in docker-compose.yaml


def shipped(pattern: str) -> dict[str, str]:
    """The files of the repository that match, by name."""
    return {path.name: path.read_text("utf-8") for path in ROOT.glob(pattern)}


def test_what_a_template_reads_is_a_link_and_no_copy() -> None:
    links = {path.name: path.readlink() for path in (CHART / "files").iterdir()}
    assert links == {
        "otel-collector": Path("../../../otel-collector"),
        "prometheus": Path("../../../prometheus"),
        "grafana": Path("../../../grafana"),
    }
    assert all((CHART / "files" / name).is_dir() for name in links)


def test_helm_has_nothing_to_complain_about(helm: Helm) -> None:
    run = helm("lint", "--strict", ".")
    assert run.returncode == 0, run.stdout
    assert "[WARNING]" not in run.stdout


def test_the_collector_reads_the_shipped_files_to_the_letter(manifests: list[Manifest]) -> None:
    data = of_kind(manifests, "ConfigMap")[COLLECTORS]["data"]
    expected = shipped("otel-collector/config.yaml") | shipped("otel-collector/extras.yaml")
    assert {name: data[name].strip() for name in expected} == {name: text.strip() for name, text in expected.items()}
    assert set(data) == {*expected, "prometheus.yaml"}


def test_the_collector_takes_what_it_gets(manifests: list[Manifest], helm: Helm, tmp_path: Path) -> None:
    extras = {"exporters": {"otlp_grpc/second": {"endpoint": "traces.example.org:4317"}}}
    with_extras = made(helm, {"collector": {"extras": extras}})
    for version in (manifests, with_extras):
        workload = of_kind(version, "StatefulSet")[COLLECTORS]
        folder = container(workload)["volumeMounts"][0]["mountPath"]
        for name, text in of_kind(version, "ConfigMap")[COLLECTORS]["data"].items():
            (tmp_path / name).write_text(text)
        words = [word.replace(folder, str(tmp_path)) for word in container(workload)["args"]]
        variables = environment(workload) | {"QUEUE_DIRECTORY": str(tmp_path / "queue")}
        run = subprocess.run([ensure("otelcol"), "validate", *words], env=variables, capture_output=True, text=True)
        assert (run.returncode, run.stderr) == (0, "")
    read = of_kind(with_extras, "ConfigMap")[COLLECTORS]["data"]["extras.yaml"]
    assert yaml.safe_load(read) == extras


def test_what_is_pushed_reaches_every_prometheus(helm: Helm, tmp_path: Path) -> None:
    """Each evaluates the rules: one that lacks a series would say that it is absent."""
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    file = chart / "files" / "otel-collector" / "config.yaml"
    config = yaml.safe_load(file.read_text("utf-8"))
    config["exporters"]["otlp_http/prometheus"] = {
        "endpoint": "${env:PROMETHEUS_OTLP_ENDPOINT:-http://prometheus:9090/api/v1/otlp}",
        "retry_on_failure": {"enabled": False},
    }
    config["service"]["pipelines"]["metrics/otlp"]["exporters"] = ["otlp_http/prometheus", "prometheus"]
    file.write_text(yaml.safe_dump(config))
    values = {"prometheus": {"otlp": [f"http://{name}:9090/api/v1/otlp" for name in "abc"]}}
    manifests = made(helm, values, chart)
    variables = environment(of_kind(manifests, "StatefulSet")[COLLECTORS])
    assert variables["PROMETHEUS_OTLP_ENDPOINT"] == "http://a:9090/api/v1/otlp"
    text = of_kind(manifests, "ConfigMap")[COLLECTORS]["data"]["prometheus.yaml"]
    others = {
        f"otlp_http/prometheus-{number}": f"http://{name}:9090/api/v1/otlp" for number, name in ((2, "b"), (3, "c"))
    }
    exporters = ["otlp_http/prometheus", "prometheus", *others]
    assert yaml.safe_load(text) == {
        "exporters": {name: {"endpoint": url, "retry_on_failure": {"enabled": False}} for name, url in others.items()},
        "service": {"pipelines": {"metrics/otlp": {"exporters": exporters}}},
    }
    alone = made(helm, {"prometheus": {"otlp": ["http://a:9090/api/v1/otlp"]}}, chart)
    assert yaml.safe_load(of_kind(alone, "ConfigMap")[COLLECTORS]["data"]["prometheus.yaml"]) == {}


def test_a_change_of_the_configuration_restarts_the_collectors(manifests: list[Manifest], helm: Helm) -> None:
    changed = made(helm, {"collector": {"extras": {"a": {}}}})
    sums = [
        of_kind(version, "StatefulSet")[COLLECTORS]["spec"]["template"]["metadata"]["annotations"]
        for version in (manifests, changed)
    ]
    assert sums[0] != sums[1]


def test_every_rule_file_is_a_prometheus_rule_of_the_same_content(manifests: list[Manifest], tmp_path: Path) -> None:
    paths = [path for pattern in PROMETHEUS["rule_files"] for path in (ROOT / "prometheus").glob(pattern)]
    expected = {f"{RELEASE}-{path.stem}": yaml.safe_load(path.read_text("utf-8")) for path in paths}
    rules = of_kind(manifests, "PrometheusRule")
    assert {name: rule["spec"] for name, rule in rules.items()} == expected
    assert len(expected) >= 3
    for name, rule in rules.items():
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(rule["spec"]))
        run = subprocess.run([ensure("promtool"), "check", "rules", file], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr


def camel(name: str) -> str:
    """`source_labels` as the operator writes it."""
    first, *rest = name.split("_")
    return first + "".join(map(str.title, rest))


def test_every_job_of_the_collector_is_scraped_as_shipped(manifests: list[Manifest]) -> None:
    jobs = {
        job["job_name"]: job
        for job in PROMETHEUS["scrape_configs"]
        if job["static_configs"][0]["targets"][0].startswith("otel-collector:")
    }
    monitors = of_kind(manifests, "PodMonitor")
    assert set(monitors) == {f"{RELEASE}-{name}" for name in jobs}
    numbers = {
        port["name"]: port["containerPort"]
        for port in container(of_kind(manifests, "StatefulSet")[COLLECTORS])["ports"]
    }
    for name, job in jobs.items():
        spec = monitors[f"{RELEASE}-{name}"]["spec"]
        (endpoint,) = spec["podMetricsEndpoints"]
        assert [f"otel-collector:{numbers[endpoint['port']]}"] == job["static_configs"][0]["targets"]
        assert (endpoint["interval"], endpoint["scrapeTimeout"]) == (job["scrape_interval"], job["scrape_timeout"])
        assert endpoint["honorLabels"] == job.get("honor_labels", False)
        assert (spec.get("scrapeProtocols"), spec.get("sampleLimit")) == (
            job.get("scrape_protocols"),
            job.get("sample_limit"),
        )
        assert endpoint.get("metricRelabelings", []) == [
            {camel(key): value for key, value in one.items()} for one in job.get("metric_relabel_configs", ())
        ]


def test_series_have_the_job_of_the_rules_the_pods_name_and_no_label_of_the_operators(
    manifests: list[Manifest],
) -> None:
    for name, monitor in of_kind(manifests, "PodMonitor").items():
        job, instance, drop = monitor["spec"]["podMetricsEndpoints"][0]["relabelings"]
        assert job == {"targetLabel": "job", "replacement": name.removeprefix(f"{RELEASE}-")}
        assert instance == {"sourceLabels": ["__meta_kubernetes_pod_name"], "targetLabel": "instance"}
        assert drop == {"action": "labeldrop", "regex": "namespace|pod|container|endpoint"}


@pytest.mark.parametrize("store", ["tempo", "jaeger"])
def test_grafana_gets_the_shipped_dashboards_and_the_one_of_the_trace_store(store: str, helm: Helm) -> None:
    values = {"traceStore": {"kind": store}}
    manifests = made(helm, values)
    labelled = [one for one in manifests if one["metadata"]["labels"].get("grafana_dashboard") == "1"]
    data = {name: text for one in labelled for name, text in one["data"].items()}
    assert data == shipped("grafana/dashboards/*.json") | shipped(f"grafana/dashboards/traces/{store}.json")
    assert max(map(len, data.values())) < 1_000_000  # a ConfigMap holds no more


@pytest.mark.parametrize("store", ["tempo", "jaeger"])
def test_grafana_gets_the_shipped_data_sources_with_addresses_of_the_cluster(store: str, helm: Helm) -> None:
    values = {"traceStore": {"kind": store, "url": "http://traces.example:1"}}
    manifests = made(helm, values)
    (one,) = [each for each in manifests if each["metadata"]["labels"].get("grafana_datasource") == "1"]
    (text,) = one["data"].values()
    text = text.replace(f"/trace-{store}?", "/trace-${TRACE_STORE}?")
    (shipped_text,) = shipped("grafana/provisioning/datasources/*.yaml").values()
    expected = yaml.safe_load(shipped_text)
    urls = {
        "prometheus": VALUES["prometheus"]["url"],
        "alertmanager": VALUES["grafana"]["alertmanagerUrl"],
        store: "http://traces.example:1",
    }
    expected["datasources"] = [
        source | {"url": urls[source["type"]]} for source in expected["datasources"] if source["type"] in urls
    ]
    assert yaml.safe_load(text) == expected
    assert len(expected["datasources"]) == 3


def test_a_checkout_without_links_is_refused(helm: Helm, tmp_path: Path) -> None:
    """As on a machine where git writes a file with the link's target instead."""
    for path in CHART.rglob("*"):
        if path.is_file() and "files" not in path.parts:
            target = tmp_path / path.relative_to(CHART)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (tmp_path / "files").mkdir()
    for path in (CHART / "files").iterdir():
        (tmp_path / "files" / path.name).write_text(str(path.readlink()))
    run = helm("template", RELEASE, str(tmp_path), *CLUSTER)
    assert run.returncode != 0
    assert "is missing or empty: is files/ made of links, as in the repository?" in run.stderr


def test_a_package_of_the_chart_holds_all_it_needs(rendered: str, helm: Helm, tmp_path: Path) -> None:
    """For who cannot follow links: Flux, a registry."""
    run = helm("package", str(CHART), "--destination", str(tmp_path))
    assert run.returncode == 0, run.stderr
    (package,) = tmp_path.iterdir()
    assert template(helm, chart=package) == rendered


def test_a_cluster_that_knows_no_sleep_before_the_stop_is_refused(helm: Helm) -> None:
    run = helm("template", RELEASE, ".", "--kube-version", "1.29.0")
    assert run.returncode != 0
    assert "chart requires kubeVersion: >=1.30.0-0" in run.stderr


# In step with the other ways to run


def test_images_are_those_of_compose_at_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert chart["appVersion"] == app.__version__
    assert VALUES["collector"]["image"] == COMPOSE["otel-collector"]["image"]
    assert {VALUES[name]["image"] for name in ("service", "worker")} == {
        f"{COMPOSE[name]['image']}:{app.__version__}" for name in ("service", "worker")
    }


# Read from the templates, so that they hold on machines without Helm too.


def source(name: str) -> str:
    """A template as it is written."""
    return (CHART / "templates" / name).read_text("utf-8")


def test_the_collector_has_the_variables_of_compose() -> None:
    here = dict(re.findall(r"- \{name: ([A-Z_]+), value: \"?([^\"}]*)", source("collector.yaml")))
    there = COMPOSE["otel-collector"]["environment"]
    same = {"MEMORY_LIMIT_MIB", "GOMEMLIMIT", "GOGC"}
    assert {name: here[name] for name in same} == {name: str(there[name]) for name in same}
    # Where its YAML has the address of another container, the chart has one of the cluster.
    text = (ROOT / "otel-collector" / "config.yaml").read_text("utf-8")
    others = re.findall(r"\$\{env:(\w+):-(?:http://)?[a-z]+:\d+", text)
    assert set(others) <= set(here)
    assert "TRACE_STORE_ENDPOINT" in others


def test_every_port_that_is_scraped_of_the_collector_has_a_name() -> None:
    targets = {
        target for job in PROMETHEUS["scrape_configs"] for one in job["static_configs"] for target in one["targets"]
    }
    named = dict(re.findall(r'"(otel-collector:\d+)" "(\w+)"', source("monitoring.yaml")))
    assert set(named) == {target for target in targets if target.startswith("otel-collector:")}
    for target, name in named.items():
        assert f"{{name: {name}, containerPort: {target.partition(':')[2]}}}" in source("collector.yaml")


def test_the_worker_is_asked_for_its_health_as_its_image_asks() -> None:
    worker = (ROOT / "service" / "Dockerfile").read_text("utf-8").partition(" AS worker\n")[2]
    check = re.search(r"HEALTHCHECK .* CMD (\[.*\])", worker)
    assert check
    *words, code = yaml.safe_load(check[1])
    assert words == ["python", "-c"]
    assert f"- {code}\n" in source("worker.yaml")


# What fits together


def test_every_reference_leads_somewhere(manifests: list[Manifest]) -> None:
    assert list(loose_ends(manifests)) == []


def test_only_service_and_worker_reach_otlp_and_only_prometheus_is_let_in_beside_them(
    manifests: list[Manifest],
) -> None:
    assert may_reach(manifests, 4317) == {COLLECTORS: {SERVICE, WORKER}}
    assert may_reach(manifests, 4318) == {}
    assert may_reach(manifests, 8889) == {COLLECTORS: {SERVICE, "else"}}
    assert may_reach(manifests, 8888) == {COLLECTORS: {"else"}}
    assert may_reach(manifests, 8000) == {SERVICE: {"else"}}


def test_without_peers_nobody_is_let_in(helm: Helm) -> None:
    nobody: dict[str, Any] = {"prometheus": {"allowFrom": []}, "service": {"allowFrom": []}}
    manifests = made(helm, nobody)
    assert may_reach(manifests, 8000) == {SERVICE: set()}
    assert may_reach(manifests, 8888) == {COLLECTORS: set()}


def seconds(text: str) -> float:
    """Of a duration such as 30s or 1m."""
    return float(text[:-1]) * {"s": 1, "m": 60}[text[-1]]


def test_a_collector_stops_after_senders_have_moved_on_and_their_last_counts_are_scraped(
    manifests: list[Manifest],
) -> None:
    pod = of_kind(manifests, "StatefulSet")[COLLECTORS]["spec"]["template"]["spec"]
    sleep = container(of_kind(manifests, "StatefulSet")[COLLECTORS])["lifecycle"]["preStop"]["sleep"]["seconds"]
    server = COLLECTOR["receivers"]["otlp"]["protocols"]["grpc"].get("keepalive", {}).get("server_parameters", {})
    ages = sum(seconds(server.get(name, "0s")) for name in ("max_connection_age", "max_connection_age_grace"))
    assert sleep >= 1.1 * ages + FLUSH_AND_SCRAPE  # gRPC spreads ages by a tenth
    assert pod["terminationGracePeriodSeconds"] >= sleep + 15


def broken(manifests: list[Manifest], kind: str, name: str, *path: str | int, to: Any) -> list[Manifest]:
    """The same with something else under this path of one manifest."""
    copies = deepcopy(manifests)
    place: Any = of_kind(copies, kind)[f"{RELEASE}-{name}"]
    for key in path[:-1]:
        place = place[key]
    assert place[path[-1]] != to
    place[path[-1]] = to
    return copies


POD = ("spec", "template", "spec")
LOOSE: dict[str, tuple[str, str, tuple[str | int, ...], Any]] = {
    "a Service of other pods": ("Service", "collector", ("spec", "selector", "app.kubernetes.io/component"), "x"),
    "a Service's port": ("Service", "service", ("spec", "ports", 0, "targetPort"), "web"),
    "a Service's number": ("Service", "collector", ("spec", "ports", 0, "port"), 4318),
    "a budget for others": (
        *("PodDisruptionBudget", "worker"),
        ("spec", "selector", "matchLabels", "app.kubernetes.io/component"),
        "service-worker",
    ),
    "a scaler of something": ("HorizontalPodAutoscaler", "collector", ("spec", "scaleTargetRef", "name"), "clinic"),
    "a scaler of another kind": (
        "HorizontalPodAutoscaler",
        "collector",
        ("spec", "scaleTargetRef", "kind"),
        "Deployment",
    ),
    "a monitor's port": ("PodMonitor", "otel-collector", ("spec", "podMetricsEndpoints", 0, "port"), "metrics"),
    "a policy's port": ("NetworkPolicy", "service", ("spec", "ingress", 0, "ports", 0, "port"), "https"),
    "a probe's port": (
        *("StatefulSet", "collector"),
        (*POD, "containers", 0, "readinessProbe", "httpGet", "port"),
        "healthz",
    ),
    "a volume of no claim": ("StatefulSet", "collector", (*POD, "containers", 0, "volumeMounts", 1, "name"), "data"),
    "a ConfigMap": ("StatefulSet", "collector", (*POD, "volumes", 0, "configMap", "name"), "config"),
    "an address": ("Deployment", "worker", (*POD, "containers", 0, "env", 0, "value"), "http://clinic-otel:4317"),
    "pods of another": (
        *("Deployment", "worker"),
        ("spec", "selector", "matchLabels", "app.kubernetes.io/component"),
        "service",
    ),
}


@pytest.mark.parametrize("what", LOOSE)
def test_a_reference_that_leads_nowhere_is_found(what: str, manifests: list[Manifest]) -> None:
    kind, name, path, to = LOOSE[what]
    assert list(loose_ends(broken(manifests, kind, name, *path, to=to)))


OPEN: dict[str, tuple[tuple[str | int, ...], Any]] = {
    "everybody, on OTLP": (("spec", "ingress", 0, "from"), []),
    "every pod of the namespace": (("spec", "ingress", 0, "from", 0, "podSelector"), {}),
    "Prometheus, on all ports": (("spec", "ingress", 2, "ports"), []),
    "a policy for other pods": (("spec", "podSelector", "matchLabels", "app.kubernetes.io/component"), "x"),
}


@pytest.mark.parametrize("what", OPEN)
def test_a_policy_that_lets_others_speak_otlp_is_found(what: str, manifests: list[Manifest]) -> None:
    path, to = OPEN[what]
    assert may_reach(broken(manifests, "NetworkPolicy", "collector", *path, to=to), 4317) != {
        COLLECTORS: {SERVICE, WORKER}
    }
