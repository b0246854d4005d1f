"""Where the lab listens for connectors: addresses of one's own choice, loopback only."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import pytest
from tests.edge import connector, quic_connector
from tests.edge.visitor import get

from prx.edge import Lab, LabConfig, address
from prx.edge.faults import Refuse

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
    """A mistake is told with what is expected."""
    with pytest.raises(ValueError, match="expected a loopback address and a port"):
        LabConfig(edge_addrs=(text,))


@pytest.mark.parametrize("text", ["0.0.0.0:7844", "[::]:7844", "192.0.2.1:7844", "localhost:7844"])
def test_the_lab_stays_on_this_machine(text: str) -> None:
    """An address that others could reach, or a name that might lead there, is refused: the lab trusts whoever connects."""
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
        taken.bind(("127.0.0.1", 0))
        text = address.show(taken.getsockname())
        with pytest.raises(OSError, match=rf"over UDP, at {text}"):
            async with Lab.start(LabConfig(edge_addrs=(text,))):
                pass
