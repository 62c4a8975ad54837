"""Kubernetes' own API server takes the chart, and refuses what is only a little wrong."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import yaml

from tests.kubernetes.api_server import ApiServer
from tests.kubernetes.conftest import CHART, RELEASE, Helm, Manifest, documents, template
from tests.kubernetes.loose_ends import WORKLOADS, of_kind

FREE = {"labels", "annotations", "matchLabels", "data", "limits", "requests", "groups"}
"""Maps whose keys are anybody's; `groups` are promtool's."""
SELECTORS = ("Service",)
"""Their `selector` is such a map too."""


def test_every_manifest_is_taken(server: ApiServer, rendered: str) -> None:
    refused = {text[:200]: why for text in documents(rendered) if (why := server.refusal(text, RELEASE))}
    assert refused == {}


def test_so_is_each_with_all_that_values_can_add(server: ApiServer, helm: Helm) -> None:
    peers = [
        {"namespaceSelector": {"matchLabels": {"a": "b"}}, "podSelector": {}},
        {"ipBlock": {"cidr": "10.1.0.0/16"}},
    ]
    values = {
        "imagePullSecrets": [{"name": "registry"}],
        "backend": {"settings": {"KEPT_BYTES": 268435456, "DATABASE_POOLER": True}, "secrets": {"REDIS_URL": None}},
        "service": {"allowFrom": peers},
        "collector": {"queue": {"storageClassName": "fast"}},
        "prometheus": {"labels": {"release": "monitoring"}, "allowFrom": peers},
        "traceStore": {"kind": "jaeger"},
    }
    text = template(helm, values)
    assert {one[:200]: why for one in documents(text) if (why := server.refusal(one, RELEASE))} == {}
    assert '- {name: KEPT_BYTES, value: "268435456"}' in text  # and no 2.68e+08
    assert "REDIS_URL" not in text
    assert text.count("release: monitoring") == 5  # two jobs, three files of rules


@pytest.mark.parametrize("kind", ["Prometheus", "Alertmanager"])
def test_the_example_for_the_prometheus_operator_is_taken(kind: str, server: ApiServer) -> None:
    """Its `…Spec` is what that chart puts into the resource, but for switches of its own."""
    values = yaml.safe_load((CHART / "examples" / "kube-prometheus-stack.yaml").read_text("utf-8"))
    spec = values[kind.lower()][f"{kind.lower()}Spec"]
    spec = {"storage" if name == "storageSpec" else name: value for name, value in spec.items()}  # as it calls it
    ours = {name: value for name, value in spec.items() if not name.endswith("SelectorNilUsesHelmValues")}
    assert server.refusal(operated(kind, ours), RELEASE) == ""
    assert 'unknown field "spec.replica"' in server.refusal(operated(kind, {**ours, "replica": 2}), RELEASE)


def operated(kind: str, spec: dict[str, Any]) -> Manifest:
    """A resource of the operator's."""
    return {"apiVersion": "monitoring.coreos.com/v1", "kind": kind, "metadata": {"name": "x"}, "spec": spec}


def misspelled(value: Any, free: frozenset[str] | set[str], path: str = "") -> Iterator[tuple[str, Any]]:
    """Copies of a value in each of which one key has a letter too many."""
    if isinstance(value, dict):
        for key, inner in value.items():
            here = f"{path}.{key}"
            yield here, {**{one: other for one, other in value.items() if one != key}, f"{key}x": inner}
            if key not in free:
                yield from ((where, {**value, key: changed}) for where, changed in misspelled(inner, free, here))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            for where, changed in misspelled(inner, free, f"{path}[{number}]"):
                yield where, [*value[:number], changed, *value[number + 1 :]]


def test_a_key_with_a_letter_too_many_is_refused_wherever_it_is(server: ApiServer, manifests: list[Manifest]) -> None:
    tried, taken = 0, []
    for manifest in manifests:
        free = FREE | ({"selector"} if manifest["kind"] in SELECTORS else set())
        for where, changed in misspelled(manifest["spec"], free) if "spec" in manifest else ():
            tried += 1
            if not server.refusal({**manifest, "spec": changed}, RELEASE):
                taken.append(f"{manifest['kind']} {manifest['metadata']['name']} spec{where}")
    assert taken == []
    assert tried > 300


WRONG: dict[str, tuple[str, str, tuple[str | int, ...], Any]] = {
    "a number that is a text": ("Deployment", "service", ("spec", "replicas"), "2"),
    "labels that the selector does not find": (
        *("StatefulSet", "collector"),
        ("spec", "selector", "matchLabels", "app.kubernetes.io/component"),
        "service",
    ),
    "a quantity": (
        *("StatefulSet", "collector"),
        ("spec", "volumeClaimTemplates", 0, "spec", "resources", "requests", "storage"),
        "2GB",
    ),
    "fewer at most than at least": ("HorizontalPodAutoscaler", "collector", ("spec", "maxReplicas"), 1),
    "a policy's port without a letter": (
        *("NetworkPolicy", "service"),
        ("spec", "ingress", 0, "ports", 0, "port"),
        "8000",
    ),
    "a scrape's protocol": ("PodMonitor", "otel-collector-derived", ("spec", "scrapeProtocols", 0), "Protobuf"),
    "a scrape's interval": (
        *("PodMonitor", "otel-collector"),
        ("spec", "podMetricsEndpoints", 0, "interval"),
        "5 seconds",
    ),
    "a relabelling's action": (
        *("PodMonitor", "otel-collector"),
        ("spec", "podMetricsEndpoints", 0, "relabelings", 2, "action"),
        "drop-label",
    ),
    "a rule's duration": ("PrometheusRule", "pipeline", ("spec", "groups", 0, "rules", 0, "for"), "two minutes"),
    "a sleep before it stops that outlasts its end": (
        *("StatefulSet", "collector"),
        ("spec", "template", "spec", "terminationGracePeriodSeconds"),
        5,
    ),
}


def changed(manifest: Manifest, path: tuple[str | int, ...], to: Any) -> Manifest:
    """The same with something else under this path; None takes it away."""
    copy = deepcopy(manifest)
    place: Any = copy
    for key in path[:-1]:
        place = place[key]
    assert not isinstance(place, dict) or place.get(path[-1]) != to
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return copy


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_value_is_refused(what: str, server: ApiServer, manifests: list[Manifest]) -> None:
    kind, name, path, to = WRONG[what]
    assert server.refusal(changed(of_kind(manifests, kind)[f"{RELEASE}-{name}"], path, to), RELEASE)


# The profile `restricted`


def pods(manifests: list[Manifest]) -> Iterator[Manifest]:
    """A pod of each workload, as its controller would make it."""
    for name, workload in of_kind(manifests, *WORKLOADS).items():
        template = workload["spec"]["template"]
        claims = [
            {"name": one["metadata"]["name"], "persistentVolumeClaim": {"claimName": "x"}}
            for one in workload["spec"].get("volumeClaimTemplates", ())
        ]
        spec = template["spec"] | {"volumes": [*template["spec"]["volumes"], *claims]}
        metadata = template["metadata"] | {"name": f"{name}-0"}
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def test_every_pod_may_run_under_restricted(server: ApiServer, manifests: list[Manifest]) -> None:
    assert {one["metadata"]["name"]: server.refusal(one, RELEASE) for one in pods(manifests)} == {
        f"{RELEASE}-{name}-0": "" for name in ("service", "worker", "collector")
    }


INSIDE = ("spec", "containers", 0, "securityContext")


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("spec", "securityContext", "runAsNonRoot"), None),
        (("spec", "securityContext", "runAsUser"), 0),
        (("spec", "securityContext", "seccompProfile"), None),
        ((*INSIDE, "allowPrivilegeEscalation"), None),
        ((*INSIDE, "capabilities", "drop"), ["NET_RAW"]),
        (("spec", "hostNetwork"), True),
        (("spec", "hostPID"), True),
    ],
)
def test_a_pod_that_may_more_is_refused(
    path: tuple[str | int, ...], to: Any, server: ApiServer, manifests: list[Manifest]
) -> None:
    for pod in pods(manifests):
        assert 'violates PodSecurity "restricted' in server.refusal(changed(pod, path, to), RELEASE)
