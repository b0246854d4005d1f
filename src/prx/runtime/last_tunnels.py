"""When a prx ends by itself: no tunnel is left, or only such as have failed for good, and none of their connectors serves.

A tunnel may fail while a former connector of it still serves for another one that cannot run either (`prx.runtime.handover`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from prx.core.events import Log
from prx.core.states import State
from prx.runtime.bus import Bus
from prx.runtime.keeper import Keeper


class LastTunnels:
    """Whether the tunnels of `keepers` can go on."""

    def __init__(self, keepers: Mapping[str, Keeper], bus: Bus) -> None:
        self._keepers = keepers
        self._bus = bus
        self._changed = asyncio.Event()
        self._said = False  # that only former connectors serve

    @property
    def none_can_run(self) -> bool:
        """Return whether something must change before any of them can serve."""
        return not any(keeper.can_run for keeper in self._keepers.values())

    def look(self) -> None:
        """Take in that a tunnel has changed, or is gone."""
        self._changed.set()

    def check(self) -> None:
        """Have it noticed if none can run: the end of a former connector changes nothing about its tunnel."""
        if self.none_can_run:
            self.look()

    async def until_over(self) -> bool:
        """Wait until no tunnel is left, or none that can run; return whether it is the latter."""
        while self._keepers:
            await self._changed.wait()
            self._changed.clear()
            if self._keepers and self.none_can_run:
                return True
            self._say_what_is_kept()
        return False

    def _say_what_is_kept(self) -> None:
        failed = bool(self._keepers) and all(keeper.state is State.FAILED for keeper in self._keepers.values())
        if failed and not self._said:
            why = "; ".join(
                f"{status.name}: {status.summary()}" for status in self._bus.statuses() if status.name in self._keepers
            )
            words = f"no tunnel can run as it is configured ({why}); prx goes on while a former connector serves"
            self._bus.publish(Log(tunnel="", level="error", message=words))
        self._said = failed
