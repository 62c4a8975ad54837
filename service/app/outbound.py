"""Clients for the addresses outside: Evolution, the model, the embeddings. The machine's proxies are not asked."""

from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx

from app.settings import Settings

_INSIDE = (".local", ".internal", ".localhost")


def client(settings: Settings, *addresses: str | None, limits: httpx.Limits) -> httpx.AsyncClient:
    """A client that reaches these addresses, each by the proxy if it has to."""
    mounts = {
        f"all://{_host(address)}": httpx.AsyncHTTPTransport(proxy=proxy, limits=limits, trust_env=False)
        for address in addresses
        if address and (proxy := proxy_for(address, settings))
    }
    return httpx.AsyncClient(trust_env=False, limits=limits, mounts=mounts)


def _host(address: str) -> str:
    """As it stands in a URL, without the port."""
    host = urlsplit(address).hostname or ""
    return f"[{host}]" if ":" in host else host


def blocking_client(settings: Settings, address: str, **arguments: Any) -> httpx.Client:
    """The same for code without async, and one address."""
    return httpx.Client(trust_env=False, proxy=proxy_for(address, settings), **arguments)


def proxy_for(address: str, settings: Settings) -> str | None:
    """OUTBOUND_PROXY, but for what is inside: names without a dot (as in compose), `.local`, private addresses."""
    if not settings.outbound_proxy:
        return None
    host = urlsplit(address).hostname or ""
    try:
        inside = ip_address(host).is_private
    except ValueError:
        inside = "." not in host or host.endswith(_INSIDE)
    return None if inside else settings.outbound_proxy.get_secret_value()
