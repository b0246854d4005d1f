"""The request to stop everything, and what it cuts short: a stop asked for early waits for no answer and no service."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


class StopRequest:
    """`made`: a stop was asked for, at any time. `tunnels`: those that are not to be started at all, by name."""

    def __init__(self) -> None:
        self.made = False
        self.tunnels: set[str] = set()
        self._step: asyncio.Timeout | None = None

    def make(self) -> None:
        """Ask for the stop: it ends the step under way, and every later one."""
        self.made = True
        if self._step is not None:
            self._step.reschedule(asyncio.get_running_loop().time())

    async def in_time(self, step: Awaitable[None]) -> bool:
        """Await a step of coming up; return False if the stop came first."""
        try:
            async with asyncio.timeout(None) as self._step:
                if self.made:
                    self.make()
                await step
        except TimeoutError:
            if self.made:
                return False
            raise
        finally:
            self._step = None
        return True
