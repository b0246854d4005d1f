"""Checks of the way to the edge, against real listeners on this machine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import dns.message
import pytest
import trustme
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
from tests.doctor.conftest import SceneOf, by_check, unknown
from tests.support.servers import Served, Servers, answer, forever

from prx.backends.base import EdgeSite
from prx.config.schema import Config
from prx.core.evidence import Dns, DnsState
from prx.doctor import reach
from prx.doctor.finding import Mark
from prx.runtime.host.clock import SystemClock

NOON = 1_800_000_000.0  # seconds since 1970


class NoonClock(SystemClock):
    """A machine whose clock stands at a known time."""

    def wall(self) -> float:
        """Return it."""
        return NOON


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for silence half a second only."""
    monkeypatch.setattr(reach, "_WAIT", 0.6)


async def silent(*_: Any) -> None:
    """Hold a connection."""
    await forever()


@contextlib.asynccontextmanager
async def quic_server(port: int, tmp_path: Path) -> AsyncIterator[None]:
    """Run a real QUIC server."""
    certificate = trustme.CA().issue_cert("quic.cftunnel.com")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    certificate.cert_chain_pems[0].write_to_path(str(chain))
    certificate.private_key_pem.write_to_path(str(key))
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["argotunnel"])
    configuration.load_cert_chain(chain, key)
    server = await serve("127.0.0.1", port, configuration=configuration)
    try:
        yield
    finally:
        server.close()
        await asyncio.sleep(0)


async def test_open_edge(servers: Servers, scene_of: SceneOf, tmp_path: Path) -> None:
    """A listener over TCP and a real QUIC server are both found, with one datagram each way."""
    served = await servers.start(silent, read_head=False)
    async with quic_server(served.port, tmp_path):
        found = by_check(await reach.check_edge(scene_of(site=EdgeSite(edge_addrs=(f"127.0.0.1:{served.port}",)))))
    assert found["edge-tcp"].verdict is Mark.OK
    assert found["edge-udp"].verdict is Mark.OK


@pytest.mark.parametrize(("protocol", "verdict"), [("auto", Mark.WARN), ("quic", Mark.FAIL)])
async def test_blocked_udp(servers: Servers, scene_of: SceneOf, protocol: str, verdict: Mark) -> None:
    """Without an answer over UDP prx goes on with HTTP/2, unless the configuration insists on QUIC."""
    served = await servers.start(silent, read_head=False)
    site = EdgeSite(edge_addrs=(f"127.0.0.1:{served.port}",))
    found = by_check(await reach.check_edge(scene_of(site=site, cloudflare={"protocol": protocol})))
    assert found["edge-tcp"].verdict is Mark.OK
    assert found["edge-udp"].verdict is verdict
    assert f"127.0.0.1:{served.port}" in found["edge-udp"].words


@pytest.mark.parametrize(
    "reply",
    [
        lambda data: data,
        lambda data: data[:1] + bytes(4) + data[5:],
        lambda data: data[:5] + b"\x08" + data[15:23] + data[14:15] + data[6:14],
        lambda data: b"\x40" + bytes(4) + b"\x08" + data[15:23] + data[14:15] + data[6:14],
        lambda data: b"\x80",
    ],
    ids=["echo", "ids not exchanged", "a version", "short header", "too short"],
)
async def test_other_answers_are_no_quic(servers: Servers, scene_of: SceneOf, reply: Callable[[bytes], bytes]) -> None:
    """Only a version negotiation that returns our own connection ID is taken for the edge (RFC 8999, 6)."""

    class Other(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.sendto(reply(data), addr)

    served = await servers.start(silent, read_head=False)
    other, _ = await asyncio.get_running_loop().create_datagram_endpoint(Other, local_addr=("127.0.0.1", served.port))
    try:
        found = by_check(await reach.check_edge(scene_of(site=EdgeSite(edge_addrs=(f"127.0.0.1:{served.port}",)))))
    finally:
        other.close()
    assert found["edge-udp"].verdict is Mark.WARN


async def test_blocked_tcp(servers: Servers, scene_of: SceneOf) -> None:
    """One region that is not reached is a warning, none that is reached a failure."""
    served = await servers.start(silent, read_head=False)
    here, nowhere = f"127.0.0.1:{served.port}", "127.0.0.1:9"
    half = by_check(await reach.check_edge(scene_of(site=EdgeSite(edge_addrs=(here, nowhere)))))
    assert half["edge-tcp"].verdict is Mark.WARN
    none = by_check(await reach.check_edge(scene_of(site=EdgeSite(edge_addrs=(nowhere,)))))
    assert none["edge-tcp"].verdict is Mark.FAIL
    assert nowhere in none["edge-tcp"].words


async def test_edge_that_cannot_be_looked_up_is_skipped(scene_of: SceneOf) -> None:
    """Where public DNS does not answer, the way to the edge is not judged."""
    found = by_check(await reach.check_edge(scene_of()))
    assert {finding.verdict for finding in found.values()} == {Mark.SKIP}
    assert set(found) == {"edge-tcp", "edge-udp"}


async def doh_server(servers: Servers, date: str) -> Served:
    """Serve DNS over HTTPS that knows no name, and tells a date."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int(served.heads[-1].lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        query = dns.message.from_wire(await reader.readexactly(length))
        extra = {"Date": date} if date else {}
        writer.write(answer(200, dns.message.make_response(query).to_wire(), **extra))

    served = await servers.start(handle)
    return served


@pytest.mark.parametrize(
    ("date", "verdict", "words"),
    [
        (formatdate(NOON - 5, usegmt=True), Mark.OK, "right"),
        (formatdate(NOON - 120, usegmt=True), Mark.WARN, "120 s ahead"),
        (formatdate(NOON + 4000, usegmt=True), Mark.FAIL, "4000 s behind"),
        ("", Mark.SKIP, "no server reported the time"),
        ("yesterday", Mark.SKIP, "no server reported the time"),
    ],
)
async def test_clock_is_compared(servers: Servers, scene_of: SceneOf, date: str, verdict: Mark, words: str) -> None:
    """The date on an answer of public DNS tells how wrong this machine's clock is."""
    served = await doh_server(servers, date)
    scene = replace(scene_of(site=EdgeSite(doh=(f"{served.url}/dns-query",))), clock=NoonClock())
    found = by_check(await reach.check_public_dns(scene))
    assert found["public-dns"].verdict is Mark.OK
    assert found["clock"].verdict is verdict
    assert words in found["clock"].words


async def test_public_dns_that_nobody_reaches(servers: Servers, scene_of: SceneOf, unused_port: int) -> None:
    """One server that answers is enough, and the other one is named; none is a failure."""
    served = await doh_server(servers, "")
    dead = f"http://127.0.0.1:{unused_port}/dns-query"
    half = by_check(await reach.check_public_dns(scene_of(doh=[dead, f"{served.url}/dns-query"])))
    assert half["public-dns"].verdict is Mark.OK
    refused = f"connection refused by 127.0.0.1:{unused_port}"
    assert half["public-dns"].words == f"1 of 2 DNS-over-HTTPS servers answer; {refused}"
    none = by_check(await reach.check_public_dns(scene_of(doh=[dead])))
    assert (none["public-dns"].verdict, none["clock"].verdict) == (Mark.FAIL, Mark.SKIP)
    assert refused in none["public-dns"].words


async def known(_: str) -> Dns:
    """Know every name, as this machine's own resolver in a network that blocks DNS over HTTPS."""
    return Dns(DnsState.RESOLVED, ("127.0.0.1", "127.0.0.2", "::1"))


@pytest.mark.parametrize(
    ("by_system", "verdict", "others"), [(known, Mark.WARN, {Mark.OK, Mark.WARN, Mark.FAIL}), (unknown, Mark.FAIL, {Mark.SKIP})]
)
async def test_a_network_that_blocks_public_dns_does_not_keep_prx_from_working(
    scene_of: SceneOf, by_system: Callable[[str], Awaitable[Dns]], verdict: Mark, others: set[Mark]
) -> None:
    """If the machine's own resolver knows the edge, prx goes on with it, and doctor tries the edge; without either it fails."""
    scene = replace(scene_of(), by_system=by_system)
    [public, clock] = await reach.check_public_dns(scene)
    assert (public.verdict, clock.verdict) == (verdict, Mark.SKIP)
    assert ("goes on with this machine's own resolver" in public.words) is (verdict is Mark.WARN)
    assert {finding.verdict for finding in await reach.check_edge(scene)} <= others


ADDRESSES = ("192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2", "2001:db8::3")


@pytest.mark.parametrize(
    ("versions", "tried"),
    [
        (["auto"], ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]),
        (["4"], ["192.0.2.1", "192.0.2.2"]),
        (["6"], ["2001:db8::1", "2001:db8::2"]),
        (["4", "6"], ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]),
    ],
)
def test_the_edge_is_tried_over_what_a_connector_may_take(scene_of: SceneOf, versions: list[str], tried: list[str]) -> None:
    """A machine with IPv6 alone is not said to be cut off because IPv4 does not work, nor the other way round."""
    scenes = [scene_of(cloudflare={"edge_ip_version": version}) for version in versions]
    tunnels = {str(at): scene.config.tunnels["web"] for at, scene in enumerate(scenes)}
    scene = replace(scenes[0], config=Config(tunnels=tunnels))
    assert reach._tried(scene, ADDRESSES) == tried
