"""A whole prx in this process, in virtual time: real lab, real child, real origin, real sockets.

Two ways to let time pass. `live` ties the virtual clock to the real one: for what a child does at its own pace. `leap` jumps
from timer to timer, letting every look finish before the next timer fires: ten virtual minutes pass in a second or two.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from prx.backends.base import EdgeSite
from prx.config.schema import AccessSettings, CloudflareSettings, Config, TunnelSettings
from prx.core.events import ChildStarted, Event, Fact
from prx.core.status import TunnelStatus
from prx.lab import Lab
from prx.runtime.bus import Bus
from prx.runtime.host.network import Network
from prx.runtime.supervisor import Supervisor
from prx.testing.clock import ManualClock

TICK = 0.01  # seconds, real


class World:
    """One tunnel called "web" and everything around it."""

    def __init__(self, lab: Lab, clock: ManualClock, supervisor: Supervisor) -> None:
        self.lab = lab
        self.clock = clock
        self.supervisor = supervisor
        self.events: list[Event] = []
        supervisor.bus.listen(self.events.append)

    @property
    def status(self) -> TunnelStatus:
        """What prx says of the tunnel "web"."""
        return self.of("web")

    def of(self, name: str) -> TunnelStatus:
        """What prx says of a tunnel."""
        return next(status for status in self.supervisor.statuses() if status.name == name)

    def told(self, kind: type[Fact]) -> list[Any]:
        """Return the facts of one kind, in their order."""
        return [event.fact for event in self.events if isinstance(event.fact, kind)]

    @property
    def restarts(self) -> int:
        """How often the child was started again."""
        return max(0, len(self.told(ChildStarted)) - 1)

    async def live(self, until: Callable[[TunnelStatus], bool], *, within: float = 30) -> TunnelStatus:
        """Advance virtual time as real time passes until the status is as wanted."""
        await self.live_until(lambda: until(self.status), within=within)
        return self.status

    async def live_until(self, until: Callable[[], bool], *, within: float = 30) -> None:
        """Advance virtual time as real time passes until all is as wanted; "web" need not be there."""
        end = time.monotonic() + within
        last = time.monotonic()
        while not until():
            await asyncio.sleep(TICK)
            now = time.monotonic()
            self.clock.advance(now - last)
            last = now
            assert now < end, f"not within {within} s; {self.story()}"

    async def leap(self, seconds: float, *, until: Callable[[TunnelStatus], bool] = lambda _: False) -> TunnelStatus:
        """Advance so many virtual seconds as fast as everything can follow, or fewer, when the status is as wanted."""
        end = self.clock.monotonic() + seconds
        await self._settle()
        while not until(self.status) and self.clock.advance_to_next(end):
            await self._settle()
        return self.status

    async def _settle(self) -> None:
        """Run everything that has started to its end."""
        end = time.monotonic() + 30
        for _ in range(3):  # what one round has started, the next one sees
            await asyncio.sleep(0)
            while not self.supervisor.at_rest:
                await asyncio.sleep(0.001)
                assert time.monotonic() < end, f"prx never comes to rest; {self.story()}"

    def story(self) -> str:
        """Return what happened, for the message of a failed test."""
        lines = [str(event.to_json()) for event in self.events if event.fact.name != "log"]
        return "\n".join([*map(str, self.supervisor.statuses()), *lines[-40:]])


def site_of(lab: Lab, protocols: tuple[str, ...] = ("http2",)) -> EdgeSite:
    """Return the site that a lab is."""
    return EdgeSite(
        edge_addrs=lab.edge_addrs,
        ca_file=lab.ca_file,
        quick_service=lab.quick_service,
        public_scheme="http",
        public_port=int(lab.public.rsplit(":", 1)[1]),
        doh=(lab.doh,),
        quick_zone="localhost",
        protocols=protocols,
        local=True,
    )


@asynccontextmanager
async def world(
    lab: Lab,
    clock: ManualClock,
    folder: Path,
    *,
    connector: str,
    port: int,
    protocols: tuple[str, ...] = ("http2",),
    access: AccessSettings | None = None,
    cloudflare: dict[str, Any] | None = None,
    network: Network | None = None,
    others: dict[str, TunnelSettings] | None = None,
    **tunnel: Any,
) -> AsyncIterator[World]:
    """Run prx with the tunnel "web" for the service on `port`; further arguments are keys of `[tunnel]`."""
    child = {"cloudflared_path": connector, "grace_period_secs": 2, **(cloudflare or {})}
    settings = TunnelSettings(local_addr=f"127.0.0.1:{port}", cloudflare=CloudflareSettings(**child), **tunnel)
    config = Config(tunnels={"web": settings, **(others or {})}, access=access or AccessSettings())
    environ = {"HOME": str(folder), "PRX_DATA_DIR": str(folder / "data"), "PATH": "/usr/bin:/bin"}
    supervisor = Supervisor(
        config,
        clock=clock,
        bus=Bus(clock),
        data_dir=folder / "data",
        site=site_of(lab, protocols),
        network=network,
        environ=environ,
    )
    async with asyncio.TaskGroup() as group:
        running = group.create_task(supervisor.run(), name="supervisor")
        here = World(lab, clock, supervisor)
        async with asyncio.timeout(10):
            while not supervisor.statuses():  # noqa: ASYNC110 - it is there within a few turns of the loop
                await asyncio.sleep(0)
        try:
            yield here
        finally:
            supervisor.stop()
            end = time.monotonic() + 15
            while not running.done() and time.monotonic() < end:  # the child ends at its own pace
                await asyncio.sleep(TICK)
                clock.advance(TICK)
            running.cancel()
