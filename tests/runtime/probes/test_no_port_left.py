"""What prx finds out if this machine has no local port left for a connection: nothing, which is no fault of the other side."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prx.core.evidence import Evidence, Origin, Public, Unasked
from prx.runtime.probes.connect import Endpoint, FailureKind, to_probe_error

UNSHARE = "/usr/bin/unshare"
PORTS = "/proc/sys/net/ipv4/ip_local_port_range"

EXHAUSTED = f"""
import asyncio, fcntl, socket, struct
from pathlib import Path
from prx.runtime.probes.origin import probe_origin
from prx.runtime.probes.public import probe_public

async def main():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:  # netdevice(7): SIOCSIFFLAGS, IFF_UP
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 1))
    Path("{PORTS}").write_text("40000 40003")
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 18080)
    held = []
    try:
        while True:
            held.append(socket.create_connection(("127.0.0.1", 18080)))
    except OSError:
        origin = await probe_origin("127.0.0.1", 18080)
        public = await probe_public("http://a.localhost:18080/", ["127.0.0.1"])
    print(origin.unasked, public.unasked, "keep-alive" in origin.hint, len(held) > 1, sep="|")
    refused = await probe_origin("127.0.0.1", 18081)
    print(repr(str(refused.unasked)), refused.error)

asyncio.run(main())
"""


@pytest.mark.skipif(not Path(UNSHARE).exists(), reason="needs unshare of util-linux")
def test_a_service_that_prx_has_no_port_left_for_is_not_called_down() -> None:
    """The real refusal: all ports to the service are in use, and it was not asked; another one that is down is."""
    isolated = subprocess.run(
        [UNSHARE, "-rn", sys.executable, "-c", EXHAUSTED], capture_output=True, text=True, check=False, timeout=60
    )
    if "unshare" in isolated.stderr or "Read-only file system" in isolated.stderr:
        pytest.skip(f"no namespaces here: {isolated.stderr.strip()}")
    assert isolated.stdout.splitlines() == ["for now|for now|True|True", "'' connection refused by 127.0.0.1:18081"], (
        isolated.stderr
    )


@pytest.mark.parametrize(
    ("address", "number", "kind"),
    [
        ("127.0.0.1", errno.EADDRNOTAVAIL, FailureKind.SHORT),
        ("172.17.0.2", errno.EADDRNOTAVAIL, FailureKind.SHORT),
        ("::1", errno.EADDRNOTAVAIL, FailureKind.NO_ROUTE),
        ("2606:4700::1", errno.EADDRNOTAVAIL, FailureKind.NO_ROUTE),
        ("127.0.0.1", errno.ENETUNREACH, FailureKind.NO_ROUTE),
        ("172.17.0.2", errno.EHOSTUNREACH, FailureKind.NO_ROUTE),
    ],
)
def test_a_way_that_is_missing_differs_from_a_port(address: str, number: int, kind: FailureKind) -> None:
    """Without IPv6 there is no address to ask from, which does say something of the way."""
    assert to_probe_error(OSError(number, os.strerror(number)), Endpoint(address, 80), 1.0).trouble is kind


@pytest.mark.parametrize("status", [404, 502])
def test_a_round_in_which_the_service_could_not_be_asked_is_none(status: int) -> None:
    """Nothing is known of it, whatever visitors get, unless the connector has said what it lacks."""
    origin = Origin("127.0.0.1:80", False, error="no port", unasked=Unasked.FOR_NOW)
    assert Evidence(0.0, public=Public(status), origin=origin).lacking == "no port"
