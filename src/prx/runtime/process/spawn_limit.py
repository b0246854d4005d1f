"""Limit how fast children are started: if hundreds have to be, each start waits for its turn.

A start costs the event loop a few milliseconds, and the machine the first moments of another program. All at once would hold up
everything else that prx does, and each other. So `at_once` are started together; then the loop has a pause, `PERIOD` after they
began at the earliest, and half as long as they took: starts have two thirds of a busy loop. A few tunnels never notice.
"""

from __future__ import annotations

import asyncio
import os

from prx.runtime.host.clock import Clock

PERIOD = 0.01  # seconds
LONGEST = 0.1  # seconds; after twice that the last starts are over
SHARE = 0.5  # of the time that they took
AT_LEAST = 4


class SpawnRateLimiter:
    """Shared by all tunnels of one prx; the first that waits is served first."""

    def __init__(self, clock: Clock, at_once: int = 0) -> None:
        self._clock = clock
        self._at_once = at_once or max(AT_LEAST, 2 * (os.cpu_count() or 1))
        self._left = 0  # of those that are started together
        self._began = float("-inf")
        self._line = asyncio.Lock()

    async def wait(self) -> None:
        """Return when a child may be started."""
        async with self._line:
            took = self._clock.monotonic() - self._began
            if self._left <= 0 or took > 2 * LONGEST:
                if took <= 2 * LONGEST:
                    await self._clock.sleep(max(PERIOD - took, min(SHARE * took, LONGEST)))
                self._left, self._began = self._at_once, self._clock.monotonic()
            self._left -= 1
