"""How the real cloudflared comes, stays, suffers and goes, over HTTP/2."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.lab.edge.cloudflared import run_cloudflared
from tests.support.child import Child
from tests.support.origin import Origin
from tests.support.waits import PATIENCE
from tests.support.wire import get, visiting

from prx.lab import Lab
from prx.lab.edge.faults.answer_faults import RejectKind
from prx.lab.events import ConnectionRejected, ConnectionUnregistered, LabEvent, LocalConfigurationReceived
from prx.lab.faults import Drop, QuickService, RejectRegistration

pytestmark = pytest.mark.real


def token_file(lab: Lab, folder: Path) -> tuple[str, ...]:
    """Write the token of the tunnel `web` and give the flags that name it."""
    path = folder / "token"
    path.write_text(lab.token("web"))
    return ("--token-file", str(path))


async def connections(lab: Lab, number: int) -> None:
    """Wait until the tunnel `web` has so many connections."""
    async with asyncio.timeout(PATIENCE):
        await lab.wait_for(lambda lab: len(lab.tunnel("web").connections) == number)


async def test_four_connections_and_orderly_end(lab: Lab, tmp_path: Path, events: list[LabEvent]) -> None:
    """Four connections at four locations; at SIGTERM each unregisters, the edge closes, and the exit code is 0."""
    async with run_cloudflared(lab, tmp_path, "--hello-world", after_run=token_file(lab, tmp_path)) as child:
        await connections(lab, 4)
        tunnel = lab.tunnel("web")
        assert {connection.index for connection in tunnel.connections} == {0, 1, 2, 3}
        assert {connection.location for connection in tunnel.connections} == {"lab01", "lab02", "lab03", "lab04"}
        assert len(tunnel.connectors) == 1
        assert "serialized_headers" in tunnel.connections[0].features
        assert len([event for event in events if isinstance(event, LocalConfigurationReceived)]) == 1
        assert await child.stop() == 0
        await connections(lab, 0)
    assert len([event for event in events if isinstance(event, ConnectionUnregistered)]) == 4


async def test_request_under_way_at_the_end(lab: Lab, tmp_path: Path, origin: Origin) -> None:
    """A request under way at SIGTERM is answered before cloudflared leaves."""
    url = f"http://127.0.0.1:{origin.port}"
    async with run_cloudflared(lab, tmp_path, "--url", url, after_run=token_file(lab, tmp_path)) as child:
        await connections(lab, 4)
        async with asyncio.timeout(PATIENCE), visiting(lab, "web.localhost") as visitor:
            await visitor.send_head("GET", "/slow")
            await visitor.send_body(())
            await origin.reached.wait()
            child.process.terminate()
            await child.said(lambda line: "Unregistered tunnel connection" in line)
            origin.release.set()
            assert (await visitor.read_reply()).body == b"slow"
            assert await child.process.wait() == 0


@pytest.mark.parametrize("kind", ["permanent", "retryable"])
async def test_first_registration_rejected(lab: Lab, tmp_path: Path, kind: RejectKind, events: list[LabEvent]) -> None:
    """Rejected before it ever registered, cloudflared logs the cause and ends with 1, as with Cloudflare's edge."""
    fault = RejectRegistration(kind)
    lab.inject(fault)
    async with run_cloudflared(lab, tmp_path, after_run=token_file(lab, tmp_path)) as child:
        await child.said(lambda line: "Register tunnel error from server side" in line and fault.answer().cause in line)
        async with asyncio.timeout(PATIENCE):
            assert await child.process.wait() == 1
    assert {event.cause for event in events if isinstance(event, ConnectionRejected)} == {fault.answer().cause}


@pytest.mark.parametrize("kind", ["unauthorized", "duplicate"])
async def test_rejections_that_are_retried(lab: Lab, tmp_path: Path, kind: RejectKind) -> None:
    """After these rejections cloudflared tries again, and registers once it is let."""
    lab.inject(RejectRegistration(kind, times=1))
    async with run_cloudflared(lab, tmp_path, after_run=token_file(lab, tmp_path)):
        await connections(lab, 1)


async def test_all_connections_lost(lab: Lab, tmp_path: Path, origin: Origin) -> None:
    """Visitors see 1033 while no connection is left, and the origin again when cloudflared has come back."""
    flags = ("--url", f"http://127.0.0.1:{origin.port}", "--retries", "0")
    async with run_cloudflared(lab, tmp_path, *flags, after_run=token_file(lab, tmp_path)) as child:
        await connections(lab, 4)
        lab.inject(Drop())
        await connections(lab, 0)
        assert (await get(lab, "web.localhost")).body == b"error code: 1033"
        await child.said(lambda line: "Lost connection with the edge" in line)
        async with asyncio.timeout(PATIENCE):
            await lab.wait_for(lambda lab: bool(lab.tunnel("web").connections))
        assert (await get(lab, "web.localhost")).status == 200


async def test_pushed_configuration(lab: Lab, tmp_path: Path, origin: Origin) -> None:
    """A pushed configuration is applied by every connection, also by one that registers later; a bad one is refused."""
    flags = ("--url", f"http://127.0.0.1:{origin.port}", "--ha-connections", "2")
    async with run_cloudflared(lab, tmp_path, *flags, after_run=token_file(lab, tmp_path)) as child:
        await connections(lab, 2)
        results = await lab.push("web", {"ingress": [{"service": "http_status:418"}]})
        assert [(result.applied, result.error) for result in results] == [(1, ""), (1, "")]
        await child.said(lambda line: "Updated to new configuration" in line)
        assert (await get(lab, "web.localhost")).status == 418
        bad = await lab.push("web", {"ingress": [{"service": "nonsense://"}]})
        assert all(result.applied == 1 and result.error for result in bad)
    assert (await lab.push("web", {"ingress": [{"service": "http_status:404"}]})) == ()
    async with run_cloudflared(lab, tmp_path, *flags, after_run=token_file(lab, tmp_path)) as child:
        await child.said(lambda line: "Updated to new configuration" in line)
        assert (await get(lab, "web.localhost")).status == 404


async def test_origin_that_refuses(lab: Lab, tmp_path: Path) -> None:
    """Where cloudflared cannot reach the origin, a visitor gets 502."""
    async with run_cloudflared(lab, tmp_path, "--url", "http://127.0.0.1:1", after_run=token_file(lab, tmp_path)):
        await connections(lab, 4)
        assert (await get(lab, "web.localhost")).body == b"error code: 502"


async def test_two_replicas(lab: Lab, tmp_path: Path, origin: Origin) -> None:
    """Two connectors serve one tunnel; when one is killed the other goes on."""
    flags = ("--url", f"http://127.0.0.1:{origin.port}", "--ha-connections", "2")
    token = token_file(lab, tmp_path)
    async with run_cloudflared(lab, tmp_path, *flags, after_run=token):
        async with run_cloudflared(lab, tmp_path, *flags, after_run=token) as second:
            await connections(lab, 4)
            assert len(lab.tunnel("web").connectors) == 2
            second.process.kill()
            await connections(lab, 2)
        assert {(await get(lab, "web.localhost")).status for _ in range(4)} == {200}


async def test_quick_service_limits(lab: Lab, tmp_path: Path) -> None:
    """A rate-limited quick service ends cloudflared with 1, and its log shows the service's text."""
    lab.inject(QuickService(429))
    async with run_cloudflared(lab, tmp_path, "--url", "http://127.0.0.1:1") as child:
        await _ends_with_1(child)
        await child.said(lambda line: "error code: 1015" in line)


async def _ends_with_1(child: Child) -> None:
    async with asyncio.timeout(PATIENCE):
        assert await child.process.wait() == 1
