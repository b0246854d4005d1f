"""Tunnels that no longer exist: quick ones that were without connections for a while, and those that a fault deletes.

Theory of operation
-------------------
Cloudflare deletes a quick tunnel whose connections are gone for some minutes (how many is not documented). From then on its
connector is refused with `Unauthorized: Tunnel not found`, forever: over HTTP/2 cloudflared logs it, over QUIC it is
silent. The lab does the same after `LabConfig.forget_after` seconds: by its own clock, from the moment in which the last
connection went, or in which the tunnel came to be. A shorter break changes nothing, and the name stays. A named tunnel lives
until a fault deletes it.
"""

from __future__ import annotations

from prx.lab.edge.config import LabConfig
from prx.lab.edge.event_hub import EventHub
from prx.lab.edge.faults.lanes import Spawn
from prx.lab.edge.registry import Registry, Tunnel
from prx.lab.events import TunnelForgotten


class Forgetting:
    """Takes tunnels away; `spawn(coroutine, name)` starts a task that lives as long as the lab."""

    def __init__(self, registry: Registry, hub: EventHub, config: LabConfig, spawn: Spawn) -> None:
        self._registry = registry
        self._hub = hub
        self._config = config
        self._spawn = spawn

    def watch(self, tunnel: Tunnel) -> None:
        """Note that a tunnel has no connection now; a quick one is forgotten unless one comes in time."""
        after = self._config.forget_after
        if tunnel.quick and after is not None and not tunnel.connections:
            tunnel.breaks += 1
            self._spawn(self._forget_later(tunnel, tunnel.breaks, after), f"forget-{tunnel.hostname}")

    def forget(self, tunnel: Tunnel) -> None:
        """Delete a tunnel at once, and drop its connections; harmless if it is gone already."""
        if not self._registry.remove(tunnel):
            return
        for connection in tuple(tunnel.connections):
            connection.carrier.abort("the tunnel is no more")
        self._hub.emit(TunnelForgotten(self._hub.now(), tunnel.hostname, str(tunnel.id), quick=tunnel.quick))

    async def _forget_later(self, tunnel: Tunnel, which: int, after: float) -> None:
        await self._config.sleep(after)
        if tunnel.breaks == which and not tunnel.connections:
            self.forget(tunnel)
