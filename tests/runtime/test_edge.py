"""prx's own dial to the edge: real sockets, and what is concluded from them."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from tests.support.lacks import no_descriptors
from tests.support.servers import Servers

from prx.backends.base import EdgeSite
from prx.core.evidence import Reach
from prx.lab import Lab
from prx.lab.faults import UdpBlocked
from prx.runtime.probes import edge as dialling
from prx.runtime.probes.connect import Endpoint, FailureKind, ProbeError
from prx.runtime.probes.edge import EdgeWatch
from prx.runtime.probes.resolver import Resolver
from prx.testing.clock import ManualClock


def watch(clock: ManualClock, *ports: int) -> EdgeWatch:
    """Return a watch of the edge on these ports of this machine."""
    site = EdgeSite(edge_addrs=tuple(f"127.0.0.1:{port}" for port in ports), local=True)
    return EdgeWatch(site, Resolver((), clock=clock), clock)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a silent edge for less long."""
    monkeypatch.setattr(dialling, "TIMEOUT", 0.4)
    monkeypatch.setattr(dialling, "QUIC_TIMEOUT", 0.4)


@pytest.fixture
def tls() -> ssl.SSLContext:
    """Return what a server speaks TLS with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("h2.cftunnel.com").configure_cert(context)
    return context


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    """Yield a lab."""
    async with Lab.start() as running:
        yield running


def closed_port() -> int:
    """Return a port that is closed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def idle(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Say nothing."""
    await asyncio.Event().wait()


async def test_an_edge_is_open_only_if_it_speaks_tls(servers: Servers, tls: ssl.SSLContext) -> None:
    """A TLS handshake counts; a port that is closed, silent or speaks something else does not."""
    clock = ManualClock()

    async def garbage(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-nope\r\n")

    open_port = (await servers.start(idle, tls=tls, read_head=False)).port
    for port, expected in (
        (open_port, Reach.OPEN),
        (closed_port(), Reach.CLOSED),
        ((await servers.start(idle, read_head=False)).port, Reach.CLOSED),
        ((await servers.start(garbage, read_head=False)).port, Reach.CLOSED),
    ):
        seen = await watch(clock, port).dial(quic=False)
        assert (seen.tcp, seen.quic, bool(seen.error)) == (expected, Reach.UNKNOWN, expected is Reach.CLOSED)
    assert (await watch(clock, closed_port(), open_port).dial(quic=False)).tcp is Reach.OPEN, "one address is enough"


async def test_since_when_it_is_open_is_known(servers: Servers, tls: ssl.SSLContext) -> None:
    """The time counts from the first dial that worked, and starts again after one that did not, or after a pause."""
    clock = ManualClock()
    edge = watch(clock, (await servers.start(idle, tls=tls, read_head=False)).port)
    for seconds in (0.0, 5.0, 10.0):
        assert (await edge.dial(quic=False)).tcp_open_for == seconds
        clock.advance(5.0)
    clock.advance(dialling.BREAK)
    assert (await edge.dial(quic=False)).tcp_open_for == 0.0
    clock.advance(5.0)
    await servers.close()
    assert (await edge.dial(quic=False)).tcp is Reach.CLOSED


async def test_a_silence_over_udp_proves_nothing_before_an_answer_has_come(lab: Lab) -> None:
    """QUIC is unknown until it has answered once in this network, then open, then closed; another network forgets that."""
    clock = ManualClock()
    edge = watch(clock, *(int(address.rpartition(":")[2]) for address in lab.edge_addrs))
    lab.inject(UdpBlocked())
    assert (await edge.dial(quic=True)).quic is Reach.UNKNOWN
    lab.clear(UdpBlocked)
    clock.advance(2)
    assert (await edge.dial(quic=True)).quic is Reach.OPEN
    lab.inject(UdpBlocked())
    clock.advance(2)
    seen = await edge.dial(quic=True)
    assert (seen.quic, seen.tcp) == (Reach.CLOSED, Reach.OPEN)
    edge.forget()
    assert (await edge.dial(quic=True)).quic is Reach.UNKNOWN


async def test_an_edge_that_could_not_be_dialled_is_not_known(lab: Lab) -> None:
    """Without a descriptor neither protocol was tried, though both have worked: QUIC is not said to have gone."""
    clock = ManualClock()
    edge = watch(clock, *(int(address.rpartition(":")[2]) for address in lab.edge_addrs))
    for _ in range(2):
        seen = await edge.dial(quic=True)
        assert (seen.tcp, seen.quic) == (Reach.OPEN, Reach.OPEN)
        clock.advance(2)
        with no_descriptors():
            seen = await edge.dial(quic=True)
        assert (seen.tcp, seen.quic) == (Reach.UNKNOWN, Reach.UNKNOWN)
        clock.advance(2)


@pytest.mark.parametrize(
    ("kinds", "reach"),
    [
        ([FailureKind.REFUSED, FailureKind.REFUSED], Reach.CLOSED),
        ([FailureKind.REFUSED, FailureKind.SHORT], Reach.UNKNOWN),
        ([FailureKind.LOCAL, FailureKind.LOCAL], Reach.UNKNOWN),
        ([FailureKind.REFUSED, FailureKind.LOCAL], Reach.UNKNOWN),
        ([FailureKind.TIMEOUT, FailureKind.NO_ROUTE, FailureKind.SHORT], Reach.UNKNOWN),
        ([FailureKind.SHORT, FailureKind.REFUSED], Reach.UNKNOWN),
        ([FailureKind.NO_ROUTE, FailureKind.TIMEOUT], Reach.CLOSED),
    ],
)
async def test_an_edge_with_an_address_that_was_not_tried_is_not_closed(
    monkeypatch: pytest.MonkeyPatch, kinds: list[FailureKind], reach: Reach
) -> None:
    """Each of its addresses may be the one that answers."""
    failures = [ProbeError(kind, kind.name) for kind in kinds]

    async def handshake(_: Endpoint) -> ProbeError:
        return failures.pop(0)

    monkeypatch.setattr(dialling, "_handshake", handshake)
    assert (await watch(ManualClock(), *range(1, len(kinds) + 1)).dial(quic=False)).tcp is reach


@pytest.mark.parametrize(
    ("kind", "gone"),
    [
        (FailureKind.REFUSED, True),
        (FailureKind.TIMEOUT, True),
        (FailureKind.NO_ROUTE, True),
        (FailureKind.SHORT, False),
        (FailureKind.LOCAL, False),
    ],
)
async def test_a_lab_that_could_not_be_asked_is_not_gone(
    monkeypatch: pytest.MonkeyPatch, kind: FailureKind, gone: bool
) -> None:
    """Its edge refuses prx, and whether the lab runs is not known: no advice is given to start another one."""

    def cannot(*_: object, **__: object) -> None:
        raise ProbeError(kind, "why")

    async def handshake(_: Endpoint) -> ProbeError:
        return ProbeError(FailureKind.REFUSED, "refused")

    monkeypatch.setattr(dialling, "_handshake", handshake)
    monkeypatch.setattr(dialling, "connected", cannot)
    clock = ManualClock()
    site = EdgeSite(edge_addrs=("127.0.0.1:9",), local=True, joined="http://127.0.0.1:4")
    seen = await EdgeWatch(site, Resolver((), clock=clock), clock).dial(quic=False)
    assert (seen.tcp, seen.gone_lab) == (Reach.CLOSED, "http://127.0.0.1:4" if gone else "")
