"""The verdict table, run: each row's evidence produced for real, against the lab edge and a real child.

Every test asserts the verdict, the action, the number of restarts, and the words that the user reads.
"""

import os
import signal
import socket
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from tests.e2e.world import World, world
from tests.support.origin import HostedOrigin, serving
from tests.support.waits import free_port

from prx.config.schema import AccessSettings
from prx.core.events import ChildStarted
from prx.lab import AccessFront, Lab
from prx.lab.faults import Drop, NxDomain, QuickService, Refuse, RejectRegistration, UdpBlocked, Unroute
from prx.secrets.value import Secret
from prx.testing.clock import ManualClock


async def test_healthy(lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin) -> None:
    """The public GET is 2xx: ready, no action, for as long as one likes."""
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port) as here:
        status = await here.live(lambda status: status.state == "ready")
        assert (status.verdict, status.reason) == ("healthy", "the public URL answers 200")
        await here.leap(3600)
        assert (here.status.state, here.restarts) == ("ready", 0)


async def test_origin_down(lab: Lab, clock: ManualClock, tmp_path: Path, connector: str) -> None:
    """The origin is stopped for ten minutes: degraded, named, no restart; ready within an interval of its return."""
    with serving() as origin:
        port = origin.port
        running = world(lab, clock, tmp_path, connector=connector, port=port)
        here = await running.__aenter__()
        await here.live(lambda status: status.state == "ready")
    status = await here.leap(40)
    assert (status.state, status.verdict) == ("degraded", "origin_down")
    assert status.reason == f"connection refused by 127.0.0.1:{port} (the tunnel is fine)"
    await here.leap(600)
    assert (here.status.state, here.restarts) == ("degraded", 0)
    with serving(port):
        status = await here.leap(30)
        assert (status.state, status.verdict, here.restarts) == ("ready", "healthy", 0)
        await running.__aexit__(None, None, None)


async def test_origin_error(lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin) -> None:
    """The origin answers 500 by itself: degraded, the tunnel is cleared, no restart."""
    origin.answer_with(500)
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port) as here:
        status = await here.live(lambda status: status.state == "degraded")
        assert status.verdict == "origin_error"
        assert (
            status.reason == f"127.0.0.1:{origin.port} itself answers 500, an answer below 500 is expected (the tunnel is fine)"
        )
        assert status.url, "the URL leads to the origin, which is all that the tunnel can do"
        await here.leap(600)
        assert here.restarts == 0


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Record every name that this process asks the system's resolver for."""
    names: set[str] = set()
    resolve = socket.getaddrinfo

    def record(host: Any, *arguments: Any, **more: Any) -> Any:
        names.add(str(host))
        return resolve(host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", record)
    return names


async def test_dns_pending(
    lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin, asked: set[str]
) -> None:
    """A fresh name that resolves only after four minutes: no restart, not one query to the system's resolver, then verified."""
    lab.inject(NxDomain(for_seconds=240))
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port) as here:
        status = await here.live(lambda status: status.verdict == "dns_pending")
        assert (status.state, status.proven) == ("starting", False)
        assert status.url, "known, and not proven yet"
        assert "public DNS does not know the name yet" in status.reason
        await here.leap(230)
        assert (here.status.verdict, here.restarts) == ("dns_pending", 0)
        status = await here.leap(30)
        assert (status.state, here.restarts) == ("ready", 0)
        assert urlsplit(status.url).hostname not in asked
        assert {name for name in asked if not name.replace(".", "").isdigit()} == set(), "only addresses, never a name"


@pytest.mark.parametrize("protocol", ["http2", "quic"])
async def test_edge_lost(
    lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin, protocol: str
) -> None:
    """The edge is away for a minute and a half: reported within seconds, child and URL kept, well again with the edge."""
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port, protocols=(protocol,)) as here:
        url = (await here.live(lambda status: status.state == "ready")).url
        lab.inject(Refuse())
        lab.inject(Drop())
        status = await here.live(lambda status: status.verdict == "edge_lost")
        assert status.state == "degraded"
        assert status.reason.startswith("all connections to the edge are lost")
        await here.leap(90)
        assert (here.restarts, here.status.attempt, here.status.verdict) == (0, 0, "edge_lost")
        lab.clear(Refuse)
        status = await here.live(lambda status: status.state == "ready", within=90)
        assert (here.restarts, status.url) == (0, url)


async def test_a_short_loss_is_left_to_cloudflared(
    lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin
) -> None:
    """Connections that are dropped once come back by themselves: no restart."""
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port) as here:
        await here.live(lambda status: status.state == "ready")
        lab.inject(Drop())
        await here.live(lambda status: not status.connectors[0].connections)
        await here.live(lambda status: bool(status.connectors[0].connections), within=60)
        await here.leap(5)
        status = await here.live(lambda status: status.state == "ready")
        assert (status.verdict, here.restarts) == ("healthy", 0)


async def test_rate_limited(lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin) -> None:
    """429 from the quick service: at least a minute's wait, which the next prx keeps to as well."""
    lab.inject(QuickService(429))
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port) as here:
        status = await here.live(lambda status: status.state == "backoff")
        assert (status.verdict, status.attempt) == ("rate_limited", 1)
        assert "429" in status.reason
        await here.leap(20)
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port) as here:
        status = await here.live(lambda status: status.state == "backoff")
        assert status.verdict == "rate_limited"
        assert status.retry_at is not None
        assert 30 < status.retry_at - clock.wall() <= 40
        lab.clear(QuickService)
        await here.leap(45, until=lambda status: status.state == "starting")
        await here.live(lambda status: status.state == "ready")


async def test_auth_rejected(lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin) -> None:
    """A minute of "Unauthorized": failed for good, with a hint and no restart."""
    lab.inject(RejectRegistration("unauthorized"))
    token = lab.token("app.localhost")
    named = {"mode": "named", "token": token, "hostname": "app.localhost"}
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port, cloudflare=named) as here:
        await here.live(lambda status: "Unauthorized" in status.reason)
        assert here.status.state == "starting"
        await here.leap(70, until=lambda status: status.verdict == "auth_rejected")
        status = await here.live(lambda status: status.state in {"failed", "idle"})
        assert (status.verdict, here.restarts) == ("auth_rejected", 0)
        assert "new token" in status.hint


async def test_auth_rejected_over_quic(
    lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin
) -> None:
    """Over QUIC the child says nothing of why it is rejected: its counters tell that it is, HTTP/2 tells why; then failed."""
    lab.inject(RejectRegistration("unauthorized"))
    named = {"mode": "named", "token": lab.token("app.localhost"), "hostname": "app.localhost"}
    both = ("quic", "http2")
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port, cloudflare=named, protocols=both) as here:
        await here.live(lambda _: [fact.protocol for fact in here.told(ChildStarted)] == ["quic", "http2"], within=40)
        await here.live(lambda status: "Unauthorized" in status.reason)
        await here.leap(70, until=lambda status: status.verdict == "auth_rejected")
        status = await here.live(lambda status: status.state == "failed")
        assert (status.verdict, status.attempt) == ("auth_rejected", 0)


async def test_route_mismatch(lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin) -> None:
    """A configuration pushed by the edge leads elsewhere: degraded, both sides named, no restart."""
    token = lab.token("app.localhost")
    named = {"mode": "named", "token": token, "hostname": "app.localhost"}
    elsewhere = free_port()
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port, cloudflare=named) as here:
        await here.live(lambda status: status.state == "ready")
        ingress = [{"hostname": "app.localhost", "service": f"http://localhost:{elsewhere}"}, {"service": "http_status:404"}]
        await lab.push("app.localhost", {"ingress": ingress})
        status = await here.leap(35)
        assert (status.state, status.verdict) == ("degraded", "route_mismatch")
        assert f"localhost:{elsewhere}" in status.reason
        assert f"127.0.0.1:{origin.port}" in status.reason
        await here.leap(600)
        assert here.restarts == 0


class Plug:
    """A network that a test can unplug."""

    def __init__(self) -> None:
        self.plugged = self.loopback = True

    def up(self) -> bool:
        """Return whether it is plugged in."""
        return self.plugged

    def fingerprint(self) -> str:
        """Return the same network every time."""
        return "home"

    def loopback_up(self) -> bool:
        """Return whether loopback is up."""
        return self.loopback


async def test_offline(lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin) -> None:
    """No network at all: waited for without burning attempts, and checked as soon as it is back."""
    network = Plug()
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port, network=network) as here:
        await here.live(lambda status: status.state == "ready")
        network.plugged = False
        lab.inject(Refuse())
        lab.inject(Drop())
        status = await here.live(lambda status: status.verdict == "offline")
        assert (status.state, status.reason) == ("degraded", "this machine has no network")
        await here.leap(600)
        assert (here.restarts, here.status.attempt) == (0, 0)
        lab.clear(Refuse)
        network.plugged = True
        await here.live(lambda status: status.state == "ready", within=60)
        assert here.restarts == 0


async def test_no_loopback(lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin) -> None:
    """Without loopback no connector can be asked, so a silent one is kept, with its URL; it is found well when that is back."""
    network = Plug()
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port, network=network) as here:
        url = (await here.live(lambda status: status.state == "ready")).url
        network.loopback = False
        pid = here.status.connectors[0].pid
        os.kill(pid, signal.SIGSTOP)
        status = await here.live(lambda status: "loopback" in status.reason)
        assert (status.verdict, status.state) == ("edge_lost", "degraded")
        await here.leap(30)
        assert "loopback" in here.status.reason
        network.loopback = True
        os.kill(pid, signal.SIGCONT)
        await here.live(lambda status: status.state == "ready")
        assert (here.restarts, here.status.url) == (0, url)


async def test_crashed(lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin) -> None:
    """The child is killed: restarted after five seconds, with the cause in words."""
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port) as here:
        status = await here.live(lambda status: status.state == "ready")
        os.kill(status.connectors[0].pid, signal.SIGKILL)
        status = await here.live(lambda status: status.state == "backoff")
        assert (status.verdict, status.attempt) == ("crashed", 1)
        assert "killed by signal 9" in status.reason
        await here.leap(4.5)
        assert here.restarts == 0
        await here.leap(1, until=lambda status: status.state == "starting")
        await here.live(lambda status: status.state == "ready")
        assert here.restarts == 1


async def test_misconfigured(lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin) -> None:
    """A program that is not there: failed for good, with the path, a hint and not one start."""
    missing = str(tmp_path / "cloudflared")
    async with world(lab, clock, tmp_path, connector=missing, port=origin.port) as here:
        await here.live(lambda status: status.state == "failed")
        status = here.status
        assert (status.verdict, here.told(ChildStarted)) == ("misconfigured", [])
        assert missing in status.reason
        assert "install" in status.hint


@pytest.mark.parametrize("deny", ["login", "forbidden"])
async def test_protected_and_access_rejected(
    lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin, deny: Literal["login", "forbidden"]
) -> None:
    """Access in front: up without a token, degraded with a wrong one, healthy with the right one; never a restart."""
    token = lab.token("app.localhost")
    named = {"mode": "named", "token": token, "hostname": "app.localhost"}
    lab.protect("app.localhost", AccessFront(client_id="id.access", client_secret="right", deny=deny))
    for given, state, verdict in (
        ("", "ready", "protected"),
        ("wrong", "degraded", "access_rejected"),
        ("right", "ready", "healthy"),
    ):
        access = AccessSettings(client_id="id.access" if given else "", client_secret=Secret(given))
        async with world(lab, clock, tmp_path, connector=connector, port=origin.port, cloudflare=named, access=access) as here:
            status = await here.live(lambda status: status.state in {"ready", "degraded"})
            assert (status.state, status.verdict) == (state, verdict)
            await here.leap(600)
            assert (here.status.state, here.restarts) == (state, 0)


async def test_udp_blocked(lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin) -> None:
    """Nothing answers over UDP and TCP works: the child is replaced at once by one that speaks HTTP/2, which is remembered."""
    lab.inject(UdpBlocked())
    both = ("quic", "http2")
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port, protocols=both) as here:
        status = await here.live(lambda status: status.verdict == "udp_blocked", within=40)
        assert "UDP port 7844 seems to be blocked" in status.reason
        status = await here.live(lambda status: status.state == "ready")
        assert (status.connectors[0].protocol, here.restarts, status.attempt) == ("http2", 1, 0)
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port, protocols=both) as here:
        status = await here.live(lambda status: status.state == "ready")
        assert (status.connectors[0].protocol, here.restarts) == ("http2", 0)


async def test_unreachable(lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin) -> None:
    """Visitors get 530 although all is well here: reported; a named tunnel tries one fresh connector, after three minutes."""
    named = {"mode": "named", "token": lab.token("app.localhost"), "hostname": "app.localhost"}
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port, cloudflare=named) as here:
        await here.live(lambda status: status.state == "ready")
        lab.inject(Unroute())
        status = await here.leap(40)
        assert (status.state, status.verdict) == ("degraded", "unreachable")
        assert status.reason.startswith("the public URL answers 530 (error 1033): the edge knows no connector of this tunnel")
        await here.leap(120)
        assert here.restarts == 0
        await here.leap(120, until=lambda status: status.state == "stopping")
        await here.live(lambda status: status.state == "degraded", within=60)
        await here.leap(400)
        assert here.restarts == 1
        lab.clear(Unroute)
        await here.leap(10)
        await here.live(lambda status: status.state == "ready")
        assert here.restarts == 1


async def test_unreachable_quick(lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin) -> None:
    """The same with a quick tunnel, whose restart costs the URL: kept for as long as Cloudflare may route it again."""
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port) as here:
        url = (await here.live(lambda status: status.state == "ready")).url
        lab.inject(Unroute())
        await here.leap(500)
        assert (here.status.verdict, here.restarts) == ("unreachable", 0)
        lab.clear(Unroute)
        await here.leap(10)
        status = await here.live(lambda status: status.state == "ready")
        assert (status.url, here.restarts) == (url, 0)


async def test_a_url_that_somebody_else_keeps_up(
    lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin
) -> None:
    """Backend = "none": no child of ours, the URL verified and watched."""
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port) as theirs:
        url = (await theirs.live(lambda status: status.state == "ready")).url
        ours = world(
            lab, ManualClock(), tmp_path / "ours", connector=connector, port=origin.port, backend="none", public_url=url
        )
        async with ours as here:
            status = await here.live(lambda status: status.state == "ready")
            assert (status.backend, status.url, status.connectors) == ("none", url, ())
            origin.answer_with(503)
            status = await here.leap(60)
            assert (status.state, status.verdict) == ("degraded", "origin_error")


async def test_require_access(lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin) -> None:
    """Where Access is required, a service that strangers reach is taken down with the reason; behind Access it stays up."""
    named = {"mode": "named", "token": lab.token("app.localhost"), "hostname": "app.localhost"}

    def run() -> AbstractAsyncContextManager[World]:
        return world(lab, clock, tmp_path, connector="builtin", port=origin.port, cloudflare=named, require_access=True)

    async with run() as here:
        status = await here.live(lambda status: status.state == "failed")
        assert (status.verdict, here.restarts, status.url) == ("misconfigured", 0, "")
        assert "Access is not in front of it" in status.reason
    lab.protect("app.localhost", AccessFront())
    async with run() as here:
        status = await here.live(lambda status: status.state == "ready")
        assert status.verdict == "protected"
        lab.unprotect("app.localhost")
        await here.leap(40, until=lambda status: status.state == "stopping")
        status = await here.live(lambda status: status.state == "failed")
        assert status.verdict == "misconfigured"
