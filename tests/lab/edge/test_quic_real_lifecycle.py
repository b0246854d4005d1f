"""How the real cloudflared comes, is refused, loses the edge and leaves, over QUIC."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.lab.edge.cloudflared import run_cloudflared
from tests.support.child import Child
from tests.support.origin import Origin
from tests.support.visitor import get as fetch
from tests.support.waits import PATIENCE
from tests.support.wire import get, visiting

from prx.lab import Lab
from prx.lab.edge.faults.answer_faults import RejectKind
from prx.lab.events import ConnectionLost, ConnectionRejected, ConnectionUnregistered, LabEvent, LocalConfigurationReceived
from prx.lab.faults import Drop, GoAway, Refuse, RejectRegistration, Stall, UdpBlocked

pytestmark = pytest.mark.real


@asynccontextmanager
async def named(lab: Lab, folder: Path, *flags: str) -> AsyncIterator[Child]:
    """Run cloudflared over QUIC for the tunnel `web`."""
    token = folder / "token"
    token.write_text(lab.token("web"))
    async with run_cloudflared(lab, folder, "--protocol", "quic", *flags, after_run=("--token-file", str(token))) as child:
        yield child


async def connections(lab: Lab, number: int) -> None:
    """Wait until the tunnel `web` has so many connections."""
    async with asyncio.timeout(PATIENCE):
        await lab.wait_for(lambda lab: len(lab.tunnel("web").connections) == number)


def to(origin: Origin) -> tuple[str, ...]:
    """Flags for two connections and an origin."""
    return ("--url", f"http://127.0.0.1:{origin.port}", "--ha-connections", "2", "--retries", "0")


async def test_four_connections_and_orderly_end(lab: Lab, tmp_path: Path, events: list[LabEvent]) -> None:
    """Four connections at four locations; at SIGTERM each unregisters, the edge closes, and the exit code is 0."""
    async with named(lab, tmp_path, "--hello-world") as child:
        await connections(lab, 4)
        tunnel = lab.tunnel("web")
        assert {(connection.index, connection.protocol) for connection in tunnel.connections} == {
            (index, "quic") for index in range(4)
        }
        assert {connection.location for connection in tunnel.connections} == {"lab01", "lab02", "lab03", "lab04"}
        assert len([event for event in events if isinstance(event, LocalConfigurationReceived)]) == 1
        assert await child.stop() == 0
        await connections(lab, 0)
    assert len([event for event in events if isinstance(event, ConnectionUnregistered)]) == 4
    assert {event.reason for event in events if isinstance(event, ConnectionLost)} == {""}


async def test_request_under_way_at_the_end(lab: Lab, tmp_path: Path, origin: Origin) -> None:
    """A request under way at SIGTERM is answered before cloudflared leaves."""
    async with named(lab, tmp_path, *to(origin)) as child:
        await connections(lab, 2)
        async with asyncio.timeout(PATIENCE), visiting(lab, "web.localhost") as visitor:
            await visitor.send_head("GET", "/slow")
            await visitor.send_body(())
            await origin.reached.wait()
            child.process.terminate()
            await child.said(lambda line: "Unregistered tunnel connection" in line)
            origin.release.set()
            assert (await visitor.read_reply()).body == b"slow"
            assert await child.process.wait() == 0


@pytest.mark.parametrize("kind", ["permanent", "retryable", "unauthorized", "duplicate"])
async def test_rejections(lab: Lab, tmp_path: Path, kind: RejectKind, events: list[LabEvent]) -> None:
    """A rejection shows in cloudflared's counters, while the log may not name its cause; it tries again and is let in."""
    fault = RejectRegistration(kind, times=1)
    lab.inject(fault)
    async with named(lab, tmp_path, "--ha-connections", "1") as child:
        await connections(lab, 1)
        assert [event.cause for event in events if isinstance(event, ConnectionRejected)] == [fault.answer().cause]
        counters = await _metrics(child)
        assert "cloudflared_tunnel_tunnel_register_fail" in counters
        named_in_log = any(fault.answer().cause in line for line in child.lines)
        assert named_in_log is False


@pytest.mark.parametrize("fault", [Drop(), GoAway()])
async def test_all_connections_lost(lab: Lab, tmp_path: Path, origin: Origin, fault: Drop | GoAway) -> None:
    """Visitors see 1033 while no connection is left, and the origin again when cloudflared has come back."""
    async with named(lab, tmp_path, *to(origin)) as child:
        await connections(lab, 2)
        lab.inject(fault)
        await connections(lab, 0)
        assert (await get(lab, "web.localhost")).body == b"error code: 1033"
        await child.said(lambda line: "failed to accept QUIC stream" in line)
        await _until(lab, lambda lab: bool(lab.tunnel("web").connections))
        assert (await get(lab, "web.localhost")).status == 200


@pytest.mark.parametrize("fault", [UdpBlocked(), Stall()])
async def test_silence(lab: Lab, tmp_path: Path, origin: Origin, fault: UdpBlocked | Stall) -> None:
    """In silence cloudflared's connections time out, and dialling fails, until the silence ends."""
    async with named(lab, tmp_path, *to(origin)) as child:
        await connections(lab, 2)
        lab.inject(fault)
        await connections(lab, 0)
        await child.said(lambda line: "timeout: no recent network activity" in line)
        await child.said(lambda line: "failed to dial to edge with quic" in line)
        lab.clear(type(fault))
        await _until(lab, lambda lab: bool(lab.tunnel("web").connections))
        assert (await get(lab, "web.localhost")).status == 200


async def test_udp_blocked_from_the_start(lab: Lab, tmp_path: Path) -> None:
    """With UDP blocked the first dial fails as it does in a network that lets no QUIC through."""
    lab.inject(UdpBlocked())
    async with named(lab, tmp_path) as child:
        await child.said(lambda line: "Failed to dial a quic connection" in line and "no recent network activity" in line)
        assert lab.tunnel("web").connections == ()


async def test_refused(lab: Lab, tmp_path: Path, origin: Origin) -> None:
    """While new connections are refused, dialling fails; afterwards cloudflared comes in."""
    lab.inject(Refuse())
    async with named(lab, tmp_path, *to(origin)) as child:
        await child.said(lambda line: "Failed to dial a quic connection" in line)
        lab.clear(Refuse)
        await connections(lab, 1)


async def test_pushed_configuration(lab: Lab, tmp_path: Path, origin: Origin) -> None:
    """A pushed configuration is applied by every connection, also by one that registers later; a bad one is refused."""
    async with named(lab, tmp_path, *to(origin)) as child:
        await connections(lab, 2)
        results = await lab.push("web", {"ingress": [{"service": "http_status:418"}]})
        assert [(result.applied, result.error) for result in results] == [(1, ""), (1, "")]
        await child.said(lambda line: "Updated to new configuration" in line)
        assert (await get(lab, "web.localhost")).status == 418
        bad = await lab.push("web", {"ingress": [{"service": "nonsense://"}]})
        assert all(result.applied == 1 and "nonsense" in result.error for result in bad)
        assert await child.stop() == 0
    assert (await lab.push("web", {"ingress": [{"service": "http_status:404"}]})) == ()
    async with named(lab, tmp_path, *to(origin)) as child:
        await child.said(lambda line: "Updated to new configuration" in line)
        assert (await get(lab, "web.localhost")).status == 404


async def test_origin_that_refuses(lab: Lab, tmp_path: Path) -> None:
    """Where cloudflared cannot reach the origin, a visitor gets 502."""
    async with named(lab, tmp_path, "--url", "http://127.0.0.1:1", "--ha-connections", "1"):
        await connections(lab, 1)
        assert (await get(lab, "web.localhost")).body == b"error code: 502"


async def _until(lab: Lab, condition: Callable[[Lab], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        await lab.wait_for(condition)


async def _metrics(child: Child) -> str:
    line = await child.said(lambda line: "Starting metrics server on" in line)
    address = re.search(r"on (\S+)/metrics", line)
    assert address is not None
    return (await fetch(f"http://{address[1]}/metrics")).text
