"""What no API server sees: names in one manifest that have to be found in another, and who may speak to whom."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Manifest = Mapping[str, Any]
WORKLOADS = ("Deployment", "StatefulSet")


def of_kind(manifests: Sequence[Manifest], *kinds: str) -> dict[str, Any]:
    """Those of these kinds, by name."""
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] in kinds}


def pod_labels(manifests: Sequence[Manifest]) -> dict[str, dict[str, str]]:
    """Of the pods of each workload."""
    return {name: one["spec"]["template"]["metadata"]["labels"] for name, one in of_kind(manifests, *WORKLOADS).items()}


def container(workload: Manifest) -> Any:
    """A workload's only container."""
    (only,) = workload["spec"]["template"]["spec"]["containers"]
    return only


def environment(workload: Manifest) -> dict[str, str]:
    """The variables that are written in the manifest."""
    return {one["name"]: one["value"] for one in container(workload)["env"] if "value" in one}


def selected(selector: Mapping[str, Any], manifests: Sequence[Manifest]) -> list[str]:
    """The workloads whose pods are meant."""
    return [name for name, labels in pod_labels(manifests).items() if selector.items() <= labels.items()]


def loose_ends(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Each reference that leads nowhere, or to something else than its own."""
    workloads = of_kind(manifests, *WORKLOADS)
    for name, workload in workloads.items():
        if selected(workload["spec"]["selector"]["matchLabels"], manifests) != [name]:
            yield f"{name} selects other pods than its own"
        yield from _of_volumes(name, workload, manifests)
        yield from _of_probes(name, workload)
    for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy", "PodMonitor"):
        for name, one in of_kind(manifests, kind).items():
            yield from (f"{kind} {name}: {problem}" for problem in _of_selector(one, manifests))
    for name, scaler in of_kind(manifests, "HorizontalPodAutoscaler").items():
        target = scaler["spec"]["scaleTargetRef"]
        if workloads.get(target["name"], {}).get("kind") != target["kind"]:
            yield f"{name} scales nothing"
    services = of_kind(manifests, "Service")
    for name in workloads:
        for variable, value in environment(workloads[name]).items():
            yield from (f"{name}: {variable} {problem}" for problem in _of_address(value, services))


def _of_volumes(name: str, workload: Manifest, manifests: Sequence[Manifest]) -> Iterator[str]:
    spec = workload["spec"]["template"]["spec"]
    claims = [claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", ())]
    volumes = {volume["name"] for volume in spec.get("volumes", ())} | set(claims)
    for volume in spec.get("volumes", ()):
        if "configMap" in volume and volume["configMap"]["name"] not in of_kind(manifests, "ConfigMap"):
            yield f"{name}: no ConfigMap {volume['configMap']['name']}"
    if volumes != {mount["name"] for mount in container(workload)["volumeMounts"]}:
        yield f"{name} mounts other volumes than it has"


def _of_probes(name: str, workload: Manifest) -> Iterator[str]:
    here = ports(workload)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        for way in ("httpGet", "tcpSocket"):
            asked = container(workload).get(probe, {}).get(way)
            if asked and asked["port"] not in here:
                yield f"{name}: {probe} asks {asked['port']}"


def ports(workload: Manifest) -> dict[str, int]:
    """The ports of its pods, by name."""
    return {port["name"]: port["containerPort"] for port in container(workload).get("ports", ())}


def _of_selector(one: Manifest, manifests: Sequence[Manifest]) -> Iterator[str]:
    spec = one["spec"]
    selector = spec.get("podSelector") or spec["selector"]
    names = selected(selector.get("matchLabels", selector), manifests)
    if len(names) != 1:
        yield f"selects {names}"
        return
    there = ports(of_kind(manifests, *WORKLOADS)[names[0]])
    asked = [port["targetPort"] for port in spec.get("ports", ())]
    asked += [endpoint["port"] for endpoint in spec.get("podMetricsEndpoints", ())]
    asked += [port["port"] for rule in spec.get("ingress", ()) for port in rule["ports"]]
    yield from (f"{port} is no port of {names[0]}" for port in asked if port not in there)


def _of_address(value: str, services: Mapping[str, Any]) -> Iterator[str]:
    """Of an address within the release: a Service's name and port."""
    host, _, rest = value.removeprefix("http://").partition(":")
    port = rest.partition("/")[0]
    if host.startswith("clinic-") and port.isdecimal():
        offered = [one["port"] for one in services.get(host, {"spec": {"ports": ()}})["spec"]["ports"]]
        if int(port) not in offered:
            yield f"leads to no Service: {value}"


def may_reach(manifests: Sequence[Manifest], port: int) -> dict[str, set[str]]:
    """By workload with this port: who may open a connection to it.

    The release's own workloads are named, `else` is whoever a policy describes in another way. A pod without a policy
    is open to everybody.
    """
    reached = {}
    for name, workload in of_kind(manifests, *WORKLOADS).items():
        names = {key for key, number in ports(workload).items() if number == port}
        labels = pod_labels(manifests)[name]
        policies = [
            one["spec"]
            for one in of_kind(manifests, "NetworkPolicy").values()
            if one["spec"]["podSelector"].get("matchLabels", {}).items() <= labels.items()
        ]
        if names and not policies:
            reached[name] = {"everybody"}
        elif names:
            rules = [rule for policy in policies for rule in policy.get("ingress", ())]
            reached[name] = {who for rule in rules if _lets(rule, names) for who in _peers(rule, manifests)}
    return reached


def _lets(rule: Mapping[str, Any], names: set[str]) -> bool:
    return not rule.get("ports") or any(port["port"] in names for port in rule["ports"])


def _peers(rule: Mapping[str, Any], manifests: Sequence[Manifest]) -> Iterator[str]:
    if not rule.get("from"):
        yield "everybody"
    for peer in rule.get("from", ()):
        labels = peer.get("podSelector", {}).get("matchLabels")
        if set(peer) == {"podSelector"} and labels:
            yield from selected(labels, manifests) or ["else"]
        else:
            yield "else"
