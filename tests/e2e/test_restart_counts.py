"""What counts as a restart: a connector that takes the place of an earlier one. One that is wanted in addition does not."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.e2e.test_handover import rename, states
from tests.e2e.test_replicas import pids, reload, replicas, up
from tests.e2e.test_supervision_fails import fail
from tests.e2e.world import World
from tests.support.origin import HostedOrigin

from prx.core.events import ChildStarted
from prx.lab import Lab
from prx.metrics.collection import Collector
from prx.testing.clock import ManualClock


async def resize(here: World, number: int) -> None:
    """Have so many connectors, and no more."""
    reload(here, replicas=number)
    await here.live(lambda status: up(status, number))


async def resized(here: World) -> None:
    """Fewer and more, twice."""
    for number in (1, 2, 1, 2):
        await resize(here, number)


async def renamed(here: World) -> None:
    """Another name, and the former one again."""
    for name in ("shop", "web"):
        rename(here, name)
        await here.live_until(lambda name=name: states(here) == {name: "ready"})  # type: ignore[misc]
    await here.live(lambda status: up(status, 2))


async def restarted(here: World) -> None:
    """A restart that was asked for."""
    old = pids(here)
    here.supervisor.restart("web")
    await here.live(lambda status: up(status, 2) and not pids(here) & old)


async def changed(here: World) -> None:
    """Settings that need other children."""
    old = pids(here)
    reload(here, retries=7)
    await here.live(lambda status: up(status, 2) and not pids(here) & old)


async def killed(here: World) -> None:
    """A connector that was added by a reload crashes."""
    await resize(here, 1)
    await resize(here, 2)
    victim = here.status.connectors[1].pid
    os.kill(victim, signal.SIGKILL)
    await here.live(lambda status: up(status, 2) and victim not in pids(here))


async def failed(here: World) -> None:
    """The supervision fails, and begins again."""
    await fail(here)
    await here.live(lambda status: up(status, 2))


@pytest.mark.parametrize(
    ("happens", "restarts"), [(resized, 0), (renamed, 0), (restarted, 2), (changed, 2), (killed, 1), (failed, 2)]
)
async def test_only_what_takes_the_place_of_another_is_a_restart(
    lab: Lab,
    clock: ManualClock,
    tmp_path: Path,
    origin: HostedOrigin,
    happens: Callable[[World], Awaitable[None]],
    restarts: int,
) -> None:
    """Status, metrics and events agree; a connector that a reload adds counts once it is started again."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2") as here:
        collector = Collector()
        for event in here.events:
            collector.see(event)
        here.supervisor.bus.listen(collector.see)
        await happens(here)
        assert here.status.restarts == restarts
        assert sum(collector.tunnels["web"].restarts.values()) == restarts
        assert [fact.restart for fact in here.told(ChildStarted)].count(True) == restarts
