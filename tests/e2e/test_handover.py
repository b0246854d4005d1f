"""A named tunnel that goes on under another name: its visitors notice nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from bench.room.steady import load
from tests.e2e.test_replicas import replicas
from tests.e2e.world import World
from tests.support.origin import HostedOrigin

from prx.config.schema import Config
from prx.core.events import Log
from prx.lab import Lab
from prx.testing.clock import ManualClock

RATE = 20.0  # requests a second


def rename(here: World, *names: str, **keys: object) -> None:
    """Have the one tunnel be called by each of the names, the last one with other settings of cloudflared."""
    (web,) = here.supervisor.config.tunnels.values()
    for name in names[:-1]:
        here.supervisor.reload(Config(tunnels={name: web}))
    changed = replace(web, cloudflare=replace(web.cloudflare, **keys))  # type: ignore[arg-type]
    here.supervisor.reload(Config(tunnels={names[-1]: changed}))


def states(here: World) -> dict[str, str]:
    """Return the state of each tunnel."""
    return {status.name: str(status.state) for status in here.supervisor.statuses()}


@pytest.mark.parametrize("names", [["shop"], ["shop", "store", "web"]], ids=["once", "and back"])
async def test_a_renamed_tunnel_loses_no_visitor(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, names: list[str]
) -> None:
    """Under its new name the tunnel is up before it goes under its former one."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2", number=1) as here:
        url = here.status.url
        async with load(url, RATE) as visitors:
            rename(here, *names)
            await here.live_until(lambda: states(here) == {names[-1]: "ready"})
        assert visitors.lost == [], visitors.words()
        assert here.of(names[-1]).url == url


async def test_a_former_name_serves_until_the_new_one_can(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """A renamed tunnel that cannot run leaves the former one up, and says so; a stop of it ends both."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2", number=1) as here:
        rename(here, "shop", cloudflared_path="/no/such/program")
        await here.live_until(lambda: states(here) == {"web": "ready", "shop": "failed"})
        await here.leap(15, until=lambda _: states(here)["web"] != "ready")
        assert states(here) == {"web": "ready", "shop": "failed"}
        assert [fact.message for fact in here.told(Log) if "it serves until shop does" in fact.message] != []
        here.supervisor.stop("shop")
        await here.live_until(lambda: states(here) == {"shop": "idle"})
