"""Run in a network namespace of its own: the whole stack at work, and what it tried to send to the outside.

`unshare --net --mount -- python -m tests.leaks.without_internet FOLDER` prints `{"stack": […], "deliberate": […], …}`.
The only way out leads to this program, which reads every packet and answers none.
"""

import ctypes
import fcntl
import ipaddress
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from tests.leaks.webhook_canaries import text_event
from tests.support.backend import Backend
from tools.base.wait import until

NAMESERVER, SOMEBODY, SOMEBODY6 = "192.0.2.53", "192.0.2.99", "2001:db8::99"  # for documentation: nobody has them
PROTOCOLS = {6: "TCP", 17: "UDP"}
NAME = "phoned-home.example"

_TUNSETIFF, _TUN_WITHOUT_HEADER = 0x400454CA, 0x1001
_SIOCADDRT, _SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCGIFINDEX = 0x890B, 0x8913, 0x8914, 0x8916, 0x8933
_UP = 1
_MS_BIND = 4096


class Outside:
    """The world beyond the loopback interface: a device that leads here. A thread reads what is sent there."""

    def __init__(self) -> None:
        self.packets: list[str] = []
        self._device = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(self._device, _TUNSETIFF, _request("outside", struct.pack("H", _TUN_WITHOUT_HEADER)))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, _SIOCSIFADDR, _request("outside", _address("192.0.2.1")))
            for name in ("lo", "outside"):
                (flags,) = struct.unpack("H", fcntl.ioctl(control, _SIOCGIFFLAGS, _request(name))[16:18])
                fcntl.ioctl(control, _SIOCSIFFLAGS, _request(name, struct.pack("H", flags | _UP)))
            self._lead_all_here(control)
        self.has_version_6 = False
        with suppress(OSError):
            self._lead_all_of_version_6_here()
            self.has_version_6 = True
        threading.Thread(target=self._read, daemon=True).start()

    def _lead_all_here(self, control: socket.socket) -> None:
        name = ctypes.create_string_buffer(b"outside")
        route = bytearray(120)  # struct rtentry: target, gateway, mask at 8, 24, 40
        for place in (8, 24, 40):
            route[place : place + 16] = _address("0.0.0.0")
        struct.pack_into("H", route, 56, _UP)
        struct.pack_into("P", route, 88, ctypes.addressof(name))
        fcntl.ioctl(control, _SIOCADDRT, route)

    def _lead_all_of_version_6_here(self) -> None:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as control:
            (index,) = struct.unpack("i", fcntl.ioctl(control, _SIOCGIFINDEX, _request("outside"))[16:20])
            own = socket.inet_pton(socket.AF_INET6, "2001:db8::1")
            fcntl.ioctl(control, _SIOCSIFADDR, struct.pack("16sIi", own, 64, index))
            fcntl.ioctl(control, _SIOCADDRT, struct.pack("@48xIHHILIi", 0, 0, 0, 1024, 0, _UP, index))

    def _read(self) -> None:
        while True:
            if packet := describe(os.read(self._device, 65536)):
                self.packets.append(packet)


def _request(name: str, content: bytes = b"") -> bytes:
    """A `struct ifreq`."""
    return struct.pack("16s24s", name.encode(), content)


def _address(text: str) -> bytes:
    """A `struct sockaddr` of IPv4."""
    return struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(text))


def describe(packet: bytes) -> str:
    """Such as `UDP 192.0.2.53:53 …`, with the text in it; empty for what the kernel sends by itself."""
    if packet[0] >> 4 == 4:
        protocol, target, body = packet[9], packet[16:20], packet[(packet[0] & 15) * 4 :]
    else:
        protocol, target, body = packet[6], packet[24:40], packet[40:]
    if protocol not in PROTOCOLS:  # neighbour and group discovery
        return ""
    (port,) = struct.unpack("!H", body[2:4])
    words = "".join(chr(one) if 32 < one < 127 else "." for one in body[8:200])
    return f"{PROTOCOLS[protocol]} {ipaddress.ip_address(target)} {port} {words}"


def use_only(nameserver: str, folder: Path) -> None:
    """Names are asked for at this address, also where a local resolver would have answered."""
    libc = ctypes.CDLL(None, use_errno=True)
    for target, text in (
        ("/etc/resolv.conf", f"nameserver {nameserver}\noptions timeout:1 attempts:1\n"),
        ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    ):
        source = folder / Path(target).name
        source.write_text(text)
        source.chmod(0o644)
        if Path(target).exists() and libc.mount(bytes(source), os.path.realpath(target).encode(), None, _MS_BIND, None):
            raise OSError(ctypes.get_errno(), f"{target} can't be covered")


def work(folder: Path) -> None:
    """The whole stack, from its start to its end, with messages of all kinds and everything asked for once."""
    backend = Backend(folder, environment={"LLM_URL": "http://127.0.0.1:9/v1"})
    stack = backend.stack
    try:
        stack.up()
        for text in ("Quanto custa?", "Qual o endereço?", "Quero agendar", "Estou com dor"):
            backend.post(text_event(text)).raise_for_status()
        until(lambda: backend.rows("select count(*) from jobs where state = 'waiting'") == [(0,)], "the jobs are done")
        for path in ("/health", "/metrics", "/metrics/summary"):
            backend.http.get(backend.url(path)).raise_for_status()
        query = {"query": "sum(webhook_requests_total)"}
        url = stack.url("prometheus") + "/api/v1/query"
        until(lambda: backend.http.get(url, params=query).json()["data"]["result"], "Prometheus has scraped")
        stack.down(drain_seconds=0)
    finally:
        backend.http.close()
        stack.remove()


def deliberately() -> None:
    """What must be seen: a packet, a connection, a name that is asked for."""
    for family, somebody in ((socket.AF_INET, SOMEBODY), (socket.AF_INET6, SOMEBODY6)):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as packet:
            packet.sendto(b"canary", (somebody, 9))
        with suppress(OSError), socket.socket(family) as connection:
            connection.settimeout(0.2)
            connection.connect((somebody, 443))
    with suppress(OSError):
        socket.getaddrinfo(NAME, 443)


MEM0_TALKS = """
from mem0.memory.telemetry import client_telemetry as client
client.posthog.capture("canary", distinct_id="canary")
client.posthog.flush()
"""


def talking(folder: Path) -> dict[str, str]:
    """The environment in which mem0 does what it does by default."""
    return os.environ | {"MEM0_TELEMETRY": "True", "MEM0_DIR": str(folder / "mem0"), "HOME": str(folder)}


def main(folder: Path) -> None:
    """Print what was tried by the stack, by us on purpose, and by mem0 where nobody forbids it."""
    use_only(NAMESERVER, folder)
    outside = Outside()
    found: dict[str, list[str] | bool] = {}

    def tried(name: str) -> None:
        found[name], outside.packets = outside.packets, []

    work(folder / "stack")
    tried("stack")
    deliberately()
    until(lambda: len(outside.packets) >= 3, "what was sent is seen")
    tried("deliberate")
    with subprocess.Popen(
        [sys.executable, "-c", MEM0_TALKS], env=talking(folder), stderr=subprocess.DEVNULL
    ) as program:
        until(lambda: outside.packets, "mem0 phones home where nobody forbids it")
        program.kill()
    tried("mem0")
    json.dump(found | {"version 6": outside.has_version_6}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
