"""Limit how fast children are started: if hundreds have to be, each start waits for its turn.

A start costs the event loop a few milliseconds, and the machine the first moments of another program. All at once would hold up
everything else that prx does, and each other. So at most `at_once` are started in each `PERIOD`, and if the loop comes late
to the next ones, they wait as long again: starts have half of a busy loop at most. A few tunnels never notice.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque

from prx.runtime.host.clock import Clock

PERIOD = 0.01  # seconds
LONGEST_LAG = 0.2  # seconds
AT_LEAST = 4


class SpawnRateLimiter:
    """Shared by all tunnels of one prx; the first that waits is served first."""

    def __init__(self, clock: Clock, at_once: int = 0) -> None:
        self._clock = clock
        self._at_once = at_once or max(AT_LEAST, 2 * (os.cpu_count() or 1))
        self._begun: deque[float] = deque()
        self._line = asyncio.Lock()

    async def wait(self) -> None:
        """Return when a child may be started."""
        async with self._line:
            if len(self._begun) >= self._at_once:
                wait = self._begun[-self._at_once] + PERIOD - self._clock.monotonic()
                if wait > 0:
                    due = self._clock.monotonic() + wait
                    await self._clock.sleep(wait)
                    lag = self._clock.monotonic() - due
                    if lag > 0:
                        await self._clock.sleep(min(lag, LONGEST_LAG))
                self._begun.popleft()
            self._begun.append(self._clock.monotonic())
