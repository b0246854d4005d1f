"""Where the lab listens for connectors: addresses of one's own choice, loopback only."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import httpx2
import pytest
from tests.lab.edge import connector, quic_connector
from tests.lab.edge.connector import hello, registered
from tests.support.waits import free_port
from tests.support.wire import exchange, get

from prx.lab import Lab, LabConfig
from prx.lab.edge import address
from prx.lab.faults import Refuse
from prx.lab.protocol.h2.stream import H2Stream

Registered: TypeAlias = Callable[..., AbstractAsyncContextManager[Any]]


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize("text", ["127.0.0.1:7844", "127.0.0.9:0", "[::1]:7844"])
def test_addresses_are_read(text: str) -> None:
    """What an address says comes back unchanged."""
    assert address.show(address.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "7844", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:70000", "::1:7844", "a@127.0.0.1:1", "127.0.0.1:1/"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """A mistake is reported with what is expected."""
    with pytest.raises(ValueError, match="expected a loopback address and a port"):
        LabConfig(edge_addrs=(text,))


@pytest.mark.parametrize("text", ["0.0.0.0:7844", "[::]:7844", "192.0.2.1:7844", "localhost:7844"])
def test_the_lab_stays_on_this_machine(text: str) -> None:
    """An address that others could reach, or a name that might lead there, is refused: the lab trusts every client."""
    with pytest.raises(ValueError, match="expected a loopback address"):
        LabConfig(edge_addrs=("127.0.0.1:0", text))


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6 on loopback")
@pytest.mark.parametrize("registered", [connector.registered, quic_connector.registered])
async def test_connectors_come_over_ipv6(registered: Registered) -> None:
    """Both carriers are served at an IPv6 address, also after the ports were closed for a while."""
    async with Lab.start(LabConfig(edge_addrs=("[::1]:0", "127.0.0.1:0"))) as lab:
        before = lab.edge_addrs
        assert [text.rpartition(":")[0] for text in before] == ["[::1]", "127.0.0.1"]
        lab.inject(Refuse())
        lab.clear()
        assert lab.edge_addrs == before
        async with registered(lab, lab.token("web"), index=0):
            assert (await get(lab, "web.localhost")).status == 200


async def test_a_taken_udp_port_is_named() -> None:
    """A number that is free for TCP alone is no address of the edge; the error says which it is."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", free_port()))  # which no TCP server is given by chance
        text = address.show(taken.getsockname())
        with pytest.raises(OSError, match=rf"over UDP, at {text}"):
            async with Lab.start(LabConfig(edge_addrs=(text,))):
                pass


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("api.trycloudflare.com", 200),
        ("API.trycloudflare.com:443", 200),
        ("api.trycloudflare.com:7800", 200),
        ("trycloudflare.com", 403),
        ("api.trycloudflare.com.evil.example", 403),
        ("evil.example", 403),
    ],
)
async def test_quick_service_by_its_real_name(lab: Lab, host: str, status: int) -> None:
    """Behind a front of the user's own the quick service answers by the name that a cloudflared without flags calls."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        headers = {"Host": host, "Content-Type": "application/json"}
        assert (await client.post(f"{lab.quick_service}/tunnel", headers=headers)).status_code == status
        assert (await client.get(f"{lab.control}/state", headers={"Host": host})).status_code == 403


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6 loopback")
async def test_visitors_over_ipv6(lab: Lab) -> None:
    """Visitors reach the public side at ::1 too, over HTTP and HTTPS, and the service learns their address."""
    seen: list[bytes] = []

    async def look(stream: H2Stream) -> None:
        seen.append(dict(stream.headers)[b"cf-connecting-ip"])
        await hello(stream)

    context = ssl.create_default_context(cafile=str(lab.ca_file))
    async with registered(lab, lab.token("web"), answer=look):
        for url, tls in ((lab.public, None), (lab.public_https, context)):
            name = "web.localhost" if tls else None
            reader, writer = await asyncio.open_connection("::1", urlsplit(url).port, ssl=tls, server_hostname=name)
            raw = b"GET / HTTP/1.1\r\nHost: web.localhost\r\nConnection: close\r\n\r\n"
            assert (await exchange(reader, writer, raw)).status == 200
    assert seen == [b"::1", b"::1"]
