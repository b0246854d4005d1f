"""A supervision that begins again, or for the first time, goes by what was asked for before it was there."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from tests.e2e.test_replicas import replicas
from tests.e2e.test_supervision_fails import fail, names, renamed, settings, watched
from tests.e2e.world import world
from tests.support.origin import HostedOrigin

from prx.config.schema import CloudflareSettings, Config
from prx.core.events import StateChanged
from prx.core.states import State
from prx.lab import Lab
from prx.runtime.context import Shared
from prx.runtime.supervisor import Supervisor
from prx.testing.clock import ManualClock


async def test_a_tunnel_that_begins_again_stands_as_the_one_that_serves_for_it(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """A reload in the pause renames another tunnel to it: it is up as long as that one's connector serves its URL."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2", number=1) as here:
        web = settings(here)
        quick = replace(web, cloudflare=CloudflareSettings(cloudflared_path="builtin", grace_period_secs=2))
        here.supervisor.reload(Config(tunnels={"web": web, "shop": quick}))
        await here.live_until(lambda: here.of("shop").state == "ready")
        await fail(here, "shop")
        here.supervisor.reload(Config(tunnels={"shop": web}))
        for _ in range(10):
            await asyncio.sleep(0)
        assert (here.of("shop").state, here.of("shop").serving) == ("ready", 1)
        assert (here.status.state, here.status.configured) == ("ready", False)
        await here.live_until(lambda: names(here) == {"shop"} and len(here.of("shop").connectors) == 1)
        since = [fact.new for fact in here.told(StateChanged) if fact.tunnel == "shop"]
        assert since[since.index(State.BACKOFF) + 1 :] in (["idle", "ready"], ["ready"]), since


async def test_a_new_name_stands_for_its_former_one_again_after_a_failure(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """The supervision of a renamed tunnel fails before it serves: it begins again, and stands as the one that serves."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2", number=1) as here:
        renamed(here)
        await fail(here, "shop")
        here.supervisor.restart("shop")
        for _ in range(10):
            await asyncio.sleep(0)
        assert here.of("shop").state == "ready"
        await here.live_until(lambda: names(here) == {"shop"} and here.of("shop").state == "ready")


@pytest.mark.parametrize("stopped", ["web", "shop", "other"])
async def test_a_stop_before_the_start_does_not_outlive_its_tunnel(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, monkeypatch: pytest.MonkeyPatch, stopped: str
) -> None:
    """A tunnel that is stopped and taken out before its start comes up if it is put back; so does one of a new name."""
    build = Supervisor._build_shared

    def and_stop(self: Supervisor) -> Shared:
        whole = self.config
        self.stop(stopped)
        self.reload(Config(tunnels={name: item for name, item in whole.tunnels.items() if name != stopped}))
        return build(self)

    monkeypatch.setattr(Supervisor, "_build_shared", and_stop)
    async with world(lab, clock, tmp_path, connector="builtin", port=origin.port, others=watched(lab, origin)) as here:
        known = here.supervisor.config.tunnels
        await here.live_until(lambda: {here.of(name).state for name in known} == {"ready"})
        item = next(iter(watched(lab, origin).values()))
        here.supervisor.reload(Config(tunnels={**known, stopped: item}))
        await here.live_until(lambda: here.of(stopped).state == "ready")
