"""Kubernetes' own API server on loopback, over an etcd of its own. There is no node: what it takes never runs."""

import json
import secrets
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tools.base.wait import until
from tools.stack.ports import HOST, Ports

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a tenth of the time
_PLURALS = {"NetworkPolicy": "networkpolicies", "Prometheus": "prometheuses"}


@dataclass(frozen=True)
class ApiServer:
    """One that runs."""

    client: httpx.Client

    def refusal(self, manifest: str | Mapping[str, Any], namespace: str) -> str:
        """Why it does not take a manifest, as a dry run with strict fields; empty if it does.

        A text is sent as it is, so that a key that stands twice is seen too.
        """
        read = yaml.load(manifest, LOADER) if isinstance(manifest, str) else manifest  # noqa: S506 - it is a safe one
        text = manifest if isinstance(manifest, str) else json.dumps(manifest)
        kind = read["kind"]
        group = "api" if read["apiVersion"] == "v1" else "apis"
        path = f"/{group}/{read['apiVersion']}/namespaces/{namespace}/{_PLURALS.get(kind, f'{kind.lower()}s')}"
        answer = self.client.post(
            path,
            params={"dryRun": "All", "fieldValidation": "Strict"},
            content=text,
            headers={"Content-Type": "application/yaml"},
        )
        return "" if answer.status_code == httpx.codes.CREATED else f"{answer.status_code} {answer.json()['message']}"

    def define(self, definition: str) -> None:
        """Make a kind of resource known."""
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        answer = self.client.post(path, content=definition, headers={"Content-Type": "application/yaml"})
        answer.raise_for_status()
        name = answer.json()["metadata"]["name"]
        until(lambda: self._is_established(f"{path}/{name}"), f"{name} is known")

    def _is_established(self, path: str) -> bool:
        conditions = self.client.get(path).json().get("status", {}).get("conditions") or ()
        return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)

    def create_namespace(self, name: str, labels: Mapping[str, str]) -> None:
        """One in which pods are judged by these labels."""
        body = {"metadata": {"name": name, "labels": dict(labels)}}
        self.client.post("/api/v1/namespaces", json=body).raise_for_status()


@contextmanager
def running(folder: Path, etcd: Path, kube_apiserver: Path) -> Iterator[ApiServer]:
    """Both programs, ready; stopped at the end. `folder` takes data, keys and logs."""
    ports = Ports.free()
    store, peers, secure = ports.service, ports.simulator, ports.prometheus
    data, certificates, tokens, token = folder / "etcd", folder / "certs", folder / "tokens.csv", secrets.token_hex()
    tokens.write_text(f"{token},test,test,system:masters\n")
    # etcd makes a key for its peers, of whom there are none; the API server, which wants one, gets it.
    key = data / "fixtures" / "peer" / "key.pem"
    with ExitStack() as stack:
        stack.enter_context(
            _process(
                folder / "etcd.log",
                *(str(etcd), "--name=test", f"--data-dir={data}", "--unsafe-no-fsync", "--peer-auto-tls"),
                *(f"--{name}-client-urls=http://{HOST}:{store}" for name in ("listen", "advertise")),
                *(f"--{name}-peer-urls=https://{HOST}:{peers}" for name in ("listen", "initial-advertise")),
                f"--initial-cluster=test=https://{HOST}:{peers}",
            )
        )
        with httpx.Client(base_url=f"http://{HOST}:{store}", trust_env=False) as client:
            until(lambda: _answers(client, "/health"), f"etcd is ready; its log: {folder / 'etcd.log'}")
        stack.enter_context(
            _process(
                folder / "kube-apiserver.log",
                *(str(kube_apiserver), f"--etcd-servers=http://{HOST}:{store}", f"--cert-dir={certificates}"),
                *(f"--bind-address={HOST}", f"--advertise-address={HOST}", f"--secure-port={secure}"),
                *("--endpoint-reconciler-type=none", f"--token-auth-file={tokens}", "--authorization-mode=AlwaysAllow"),
                "--disable-admission-plugins=ServiceAccount",
                *(f"--service-account-{use}-file={key}" for use in ("key", "signing-key")),
                *(f"--service-account-issuer=https://{HOST}", "--service-cluster-ip-range=10.0.0.0/24"),
            )
        )
        until((certificates / "apiserver.key").exists, "the API server has a certificate, and then a key")
        client = httpx.Client(
            base_url=f"https://{HOST}:{secure}",
            headers={"Authorization": f"Bearer {token}"},
            verify=ssl.create_default_context(cafile=certificates / "apiserver.crt"),
            timeout=60,
            trust_env=False,
        )
        stack.enter_context(client)
        until(lambda: _answers(client, "/readyz"), f"the API server is ready; its log: {folder / 'kube-apiserver.log'}")
        yield ApiServer(client)


def _answers(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


@contextmanager
def _process(log: Path, *command: str) -> Iterator[None]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait()
