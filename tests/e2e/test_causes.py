"""Causes with a real child, a real edge and real sockets: what a restart cannot help keeps the child and the URL."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.e2e.world import world
from tests.support.origin import HostedOrigin, serving

from prx.core.events import RestartScheduled, UrlChanged
from prx.lab import AccessFront, Lab
from prx.lab.edge.faults.visitor_faults import Dns, DohError, RefuseVisitors
from prx.lab.faults import Drop, Forget, RejectRegistration
from prx.testing.clock import ManualClock


@pytest.mark.parametrize("protocol", ["http2", "quic"])
async def test_a_forgotten_quick_tunnel_gets_a_new_url(
    lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin, protocol: str
) -> None:
    """The edge does not know the tunnel any more: a new one at once, and the cost is reported before."""
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port, protocols=(protocol,)) as here:
        old = (await here.live(lambda status: status.state == "ready")).url
        lab.inject(Forget(urlsplit(old).hostname or ""))
        status = await here.live(lambda status: status.proven and status.url != old, within=80)
        assert here.restarts == 1
        assert [fact.costs_url for fact in here.told(RestartScheduled)] == [True]
        assert here.told(UrlChanged)[-1] == UrlChanged(tunnel="web", url=status.url, old=old)


@pytest.mark.parametrize("protocol", ["http2", "quic"])
@pytest.mark.parametrize("reason", ["unauthorized", "retryable"])
async def test_a_refusal_of_some_seconds_costs_nothing(
    lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin, protocol: str, reason: str
) -> None:
    """An incident at the edge: registrations refused for a while, and the quick tunnel keeps child and URL."""
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port, protocols=(protocol,)) as here:
        url = (await here.live(lambda status: status.state == "ready")).url
        lab.inject(RejectRegistration(reason))  # type: ignore[arg-type]
        lab.inject(Drop())
        status = await here.live(lambda status: status.verdict == "edge_lost" and "rejects" in status.reason, within=60)
        assert (status.state, here.restarts) == ("degraded", 0)
        lab.clear(RejectRegistration)
        status = await here.live(lambda status: status.state == "ready", within=80)
        assert (status.url, here.restarts, status.attempt) == (url, 0, 0)


@pytest.mark.parametrize("kind", ["challenge", "1009", "1015", "1020", "1102"])
async def test_cloudflares_own_refusals(
    lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin, kind: str
) -> None:
    """Cloudflare refuses the probe: up, reported, no restart, however long it lasts."""
    named = {"mode": "named", "token": lab.token("app.localhost"), "hostname": "app.localhost"}
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port, cloudflare=named) as here:
        await here.live(lambda status: status.state == "ready")
        lab.inject(RefuseVisitors(kind))
        status = await here.leap(40, until=lambda status: status.verdict == "edge_refused")
        assert (status.state, status.verdict) == ("ready", "edge_refused")
        assert "Cloudflare" in status.reason
        await here.leap(120)
        assert (here.restarts, here.status.verdict) == (0, "edge_refused")


FRONTS = {
    "login": (AccessFront(client_id="id.access", client_secret="right"), None, "protected"),
    "forbidden": (AccessFront(client_id="id.access", client_secret="right", deny="forbidden"), None, "protected"),
    "challenge": (None, RefuseVisitors("challenge"), "edge_refused"),
    "firewall": (None, RefuseVisitors("1020"), "edge_refused"),
}


@pytest.mark.parametrize("kind", FRONTS)
@pytest.mark.parametrize("expect", ["auto", "200-499"])
async def test_what_stands_in_front_of_a_service_does_not_hide_that_it_is_down(
    lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, kind: str, expect: str
) -> None:
    """Behind Access, or a rule of Cloudflare's, a service that is gone is named, and its return seen; never a restart."""
    front, fault, verdict = FRONTS[kind]
    named = {"mode": "named", "token": lab.token("app.localhost"), "hostname": "app.localhost"}
    with serving() as origin:
        port = origin.port
        running = world(lab, clock, tmp_path, connector=connector, port=port, cloudflare=named, health_check_expect=expect)
        here = await running.__aenter__()
        await here.live(lambda status: status.state == "ready")
        if front is not None:
            lab.protect("app.localhost", front)
        if fault is not None:
            lab.inject(fault)
        status = await here.leap(60, until=lambda status: status.verdict == verdict)
        assert (status.state, status.verdict) == ("ready", verdict)
    status = await here.leap(40, until=lambda status: status.verdict == "origin_down")
    assert (status.state, status.verdict) == ("degraded", "origin_down")
    assert status.reason.startswith(f"connection refused by 127.0.0.1:{port}; in front of it Cloudflare")
    await here.leap(600)
    assert (here.status.verdict, here.restarts) == ("origin_down", 0)
    with serving(port):
        status = await here.leap(40, until=lambda status: status.verdict == verdict)
        assert (status.state, status.verdict, here.restarts) == ("ready", verdict, 0)
        await running.__aexit__(None, None, None)


@pytest.mark.parametrize("address", ["fd10:aec2:5dae::1", "192.0.2.7"])
async def test_a_record_that_leads_elsewhere(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, address: str
) -> None:
    """A name that does not lead to Cloudflare: the record is named, and nothing is restarted."""
    named = {"mode": "named", "token": lab.token("app.localhost"), "hostname": "app.localhost"}
    lab.inject(Dns("app.localhost", (address,)))
    async with world(
        lab, clock, tmp_path, connector="builtin", port=origin.port, cloudflare=named, health_check_timeout_secs=1.0
    ) as here:
        status = await here.live(lambda status: status.verdict == "route_mismatch", within=60)
        assert f"app.localhost resolves to {address}" in status.reason
        assert "orange cloud" in status.hint
        await here.leap(12)
        assert here.restarts == 0


async def test_a_url_is_proven_without_dns_over_https(
    lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin
) -> None:
    """If no resolver answers, the way is found by a name that exists, and a proven tunnel stays proven."""
    lab.inject(DohError("status"))
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port) as here:
        status = await here.live(lambda status: status.state == "ready", within=40)
        assert (status.verdict, status.proven) == ("healthy", True)
        await here.leap(400)
        assert (here.status.verdict, here.restarts) == ("healthy", 0)
        origin.answer_with(503)
        status = await here.leap(40, until=lambda status: status.verdict == "origin_error")
        assert status.verdict == "origin_error"


@pytest.mark.parametrize("status", [404, 302, 401])
async def test_a_service_without_a_front_page_is_healthy(
    lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin, status: int
) -> None:
    """A webhook receiver, a login, a password: what the service answers here is right in public, too."""
    origin.answer_with(status)
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port) as here:
        seen = await here.live(lambda status: status.state == "ready")
        assert (seen.verdict, seen.reason) == ("healthy", f"answers {status} to GET /, as the service itself does")
