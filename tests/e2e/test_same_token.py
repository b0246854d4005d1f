"""The same token on two machines: the edge spreads visitors over both, and prx says so."""

from pathlib import Path
from typing import Any

from tests.e2e.world import World, world
from tests.support.origin import HostedOrigin, serving

from prx.config.schema import CloudflareSettings, TunnelSettings
from prx.core.events import Log
from prx.lab import Lab
from prx.testing.clock import ManualClock


def warnings(here: World) -> list[str]:
    """Return what was said about another connector of the tunnel "web"."""
    logs: list[Log] = here.told(Log)
    return [log.message for log in logs if log.tunnel == "web" and log.level == "warn" and "another connector" in log.message]


async def test_the_other_machine_is_named(
    lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin
) -> None:
    """A forgotten connector with the same token answers now and then: one warning, and no restart."""
    named: dict[str, Any] = {"mode": "named", "token": lab.token("app"), "hostname": "app.localhost"}
    with serving() as forgotten:
        # its own looks are rare: its clock stands still once it is up
        twin = world(lab, ManualClock(), tmp_path / "twin", connector=connector, port=forgotten.port, cloudflare=named)
        async with twin as there:
            await there.live(lambda status: status.state == "ready")
            async with world(lab, clock, tmp_path, connector=connector, port=origin.port, cloudflare=named) as here:
                await here.live(lambda status: status.state == "ready")
                await here.leap(600, until=lambda _: bool(warnings(here)))
                await here.leap(300)
                assert len(warnings(here)) == 1
                assert (here.status.verdict, here.status.restarts) == ("healthy", 0)


async def test_two_tunnels_of_one_prx_with_one_token_are_one(
    lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin
) -> None:
    """Two tunnels that prx itself runs with one token are ways of the same tunnel: no word of another machine."""
    named: dict[str, Any] = {"mode": "named", "token": lab.token("app"), "hostname": "app.localhost"}
    child = CloudflareSettings(cloudflared_path=connector, grace_period_secs=2, **named)
    others = {"twin": TunnelSettings(local_addr=f"127.0.0.1:{origin.port}", health_check_interval_secs=3600, cloudflare=child)}
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port, cloudflare=named, others=others) as here:
        await here.live(lambda status: status.state == "ready" and here.of("twin").state == "ready")
        await here.leap(400)
        assert warnings(here) == []
        assert (here.status.verdict, here.status.restarts) == ("healthy", 0)


async def test_a_tunnel_that_is_alone_is_not_warned_about(
    lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin
) -> None:
    """One connector, whatever its origin answers: no word of another one."""
    named = {"mode": "named", "token": lab.token("app"), "hostname": "app.localhost"}
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port, cloudflare=named) as here:
        await here.live(lambda status: status.state == "ready")
        await here.leap(600)
        origin.answer_with(503)
        status = await here.leap(60, until=lambda status: status.verdict == "origin_error")
        assert "another" not in status.reason
        assert warnings(here) == []
