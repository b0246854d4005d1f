"""A change that cannot be carried out takes nothing down: what serves goes on, and comes back as it was should it end."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.test_handover import circle, named, rename, running, settled, states
from tests.e2e.test_replicas import pids, reload, replicas, up, write_program
from tests.e2e.test_succession import PROGRAMS, unfit, wrong
from tests.e2e.world import World
from tests.support.origin import HostedOrigin
from tests.support.visitor import get

from prx.config.schema import TunnelSettings
from prx.core.events import Log, StateChanged
from prx.core.status import TunnelStatus
from prx.lab import Lab
from prx.testing.clock import ManualClock

WAYS = [*PROGRAMS, "no program", "wrong token", "no origin_ca"]


def broken(lab: Lab, folder: Path, way: str) -> dict[str, Any]:
    """Return settings of `[tunnel.cloudflare]` with which no connector comes up."""
    if way == "wrong token":
        return {"token": wrong(lab.token("app"))}
    return {"cloudflared_path": "/no/such/program"} if way == "no program" else unfit(folder, way)


def without_program(settings: TunnelSettings) -> TunnelSettings:
    """Return the settings with a program that is not there."""
    return replace(settings, cloudflare=replace(settings.cloudflare, cloudflared_path="/no/such/program"))


def change(here: World, lab: Lab, folder: Path, way: str) -> None:
    """Change the settings of the tunnel "web" to such that no connector comes up."""
    if way == "no origin_ca":
        web = here.supervisor.config.tunnels["web"]
        keys = {"local_addr": f"https://127.0.0.1:{web.origin.port}", "origin_tls_verify": True, "origin_ca": "/no/such/file"}
        here.supervisor.reload(replace(here.supervisor.config, tunnels={"web": replace(web, **keys)}))  # type: ignore[arg-type]
    else:
        reload(here, **broken(lab, folder, way))


async def kill(here: World, pid: int) -> None:
    """Kill a connector, and wait until that has been seen."""
    os.kill(pid, signal.SIGKILL)
    await here.live(lambda status: pid not in {item.pid for item in status.connectors})


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("way", WAYS)
async def test_a_kept_connector_that_crashes_is_started_as_it_was(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, way: str, number: int
) -> None:
    """The new settings cannot work, whatever is wrong with them: each connector of the old ones comes back, and prx goes on."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2", number=number) as here:
        before = here.supervisor.config
        change(here, lab, tmp_path, way)
        await here.leap(200, until=lambda status: status.state == "degraded")
        for victim in [item.pid for item in here.status.connectors if item.connections]:
            await kill(here, victim)
            await here.live(lambda status: status.serving == number and status.state.is_up)
            assert (await get(here.status.url)).status_code == 200
        assert here.supervisor.names() == ("web",)
        assert not [fact for fact in here.told(StateChanged) if fact.new == "failed"]
        await here.leap(200, until=lambda status: "is kept" in status.reason)
        assert "is kept" in here.status.reason
        serving = {item.pid for item in here.status.connectors if item.connections}
        here.supervisor.reload(before)  # nothing differs any more
        await here.live(lambda status: up(status, number) and "is kept" not in status.reason)
        assert pids(here) == serving


@pytest.mark.parametrize("way", ["no program", "of another machine", "another program", "wrong token"])
async def test_a_former_name_comes_back_while_the_new_one_cannot_run(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, way: str
) -> None:
    """A renamed tunnel cannot run, and the connector that serves for it crashes: it comes back, until the new one is up."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2", number=1) as here:
        rename(here, "shop", **broken(lab, tmp_path, way))
        await here.leap(200, until=lambda _: states(here)["shop"] == "failed")
        await kill(here, here.status.connectors[0].pid)
        await here.live(lambda status: status.state == "ready")
        assert (await get(here.status.url)).status_code == 200
        rename(here, "shop", cloudflared_path="builtin", token=named(lab, origin, "builtin", "app").cloudflare.token)
        await here.live_until(lambda: states(here) == {"shop": "ready"})


async def test_prx_goes_on_while_a_former_connector_serves_and_ends_with_it(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """Two exchange their tokens, then their program breaks and both fail for good: what one serves for the other is served on.

    That is said in words, with the reasons; prx ends with 3 once that connector has ended too.
    """
    program = tmp_path / "cloudflared"
    write_program(program, "works")
    tunnels = {host: named(lab, origin, str(program), host) for host in ("app", "shop")}
    new = circle(tunnels)
    lacking = without_program(new["shop"])
    async with running(lab, clock, tmp_path, origin, tunnels) as here:
        url = here.of("app").url
        here.supervisor.reload(replace(here.supervisor.config, tunnels={**new, "shop": lacking}))
        await here.live_until(lambda: here.of("app").url == here.of("shop").url and here.of("app").state == "ready")
        former, own = sorted(here.of("app").connectors, key=lambda item: item.pid)
        program.unlink()
        for pid in (own.pid, *(item.pid for item in here.of("shop").connectors)):
            os.kill(pid, signal.SIGKILL)
        await here.live_until(lambda: states(here) == {"app": "failed", "shop": "failed"})
        end = clock.monotonic() + 10
        await here.live_until(lambda: clock.monotonic() >= end)
        assert (await get(url)).status_code == 200
        assert here.supervisor.names() == ("app", "shop")
        said = [fact.message for fact in here.told(Log) if "prx goes on while a former connector serves" in fact.message]
        assert len(said) == 1
        assert str(program) in said[0]
        assert "/no/such/program" in here.of("shop").reason
        os.kill(former.pid, signal.SIGKILL)
        await here.live_until(lambda: here.supervisor._is_over)


async def test_a_former_connector_keeps_prx_until_its_heir_is_up(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """Both that exchange their tokens have failed but for what one serves for the other: a repair goes on from there."""
    program = tmp_path / "cloudflared"
    write_program(program, "works")
    tunnels = {host: named(lab, origin, str(program), host) for host in ("app", "shop")}
    new = circle(tunnels)
    lacking = without_program(new["shop"])
    async with running(lab, clock, tmp_path, origin, tunnels) as here:
        here.supervisor.reload(replace(here.supervisor.config, tunnels={**new, "shop": lacking}))
        await here.live_until(lambda: here.of("app").url == here.of("shop").url and here.of("app").state == "ready")
        own = max(item.pid for item in here.of("app").connectors)
        program.unlink()
        for pid in (own, *(item.pid for item in here.of("shop").connectors)):
            os.kill(pid, signal.SIGKILL)
        await here.live_until(lambda: states(here) == {"app": "failed", "shop": "failed"})
        write_program(program, "works again")
        here.supervisor.reload(replace(here.supervisor.config, tunnels=new))
        await here.live_until(settled(here, new, 1))


async def test_fewer_connectors_leave_those_alone_that_serve_for_another_tunnel(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """Of two that exchange their tokens one cannot run, and the other gets fewer connectors: both that serve for it stay."""
    tunnels = {host: named(lab, origin, "builtin", host, replicas=2) for host in ("app", "shop")}
    new = circle(tunnels)
    lacking = without_program(new["shop"])
    fewer = replace(new["app"], cloudflare=replace(new["app"].cloudflare, replicas=1))

    def by_host(status: TunnelStatus, host: str) -> int:
        tunnel = here.supervisor._keepers[status.name].tunnel
        return sum(
            item.ready > 0 and item.child_context.settings.cloudflare.hostname.startswith(host) for item in tunnel.connectors
        )

    async with running(lab, clock, tmp_path, origin, tunnels) as here:
        await here.live_until(lambda: all(status.serving == 2 for status in here.supervisor.statuses()))
        here.supervisor.reload(replace(here.supervisor.config, tunnels={**new, "shop": lacking}))
        await here.live_until(lambda: by_host(here.of("app"), "shop") == 2)
        await here.live_until(lambda: len(here.supervisor._keepers["app"].tunnel.leaving) == 2)
        first, second = (item for item in here.supervisor._keepers["app"].tunnel.leaving)
        here.supervisor.reload(replace(here.supervisor.config, tunnels={"app": fewer, "shop": lacking}))
        await here.live_until(lambda: by_host(here.of("app"), "shop") == 1)
        end = clock.monotonic() + 5
        await here.live_until(lambda: clock.monotonic() >= end)
        assert min(first.ready, second.ready) > 0
        here.supervisor.reload(replace(here.supervisor.config, tunnels={"app": fewer, "shop": new["shop"]}))
        await here.live_until(lambda: len(here.of("app").connectors) == 1 and here.of("shop").serving == 2)
