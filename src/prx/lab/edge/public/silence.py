"""How long an origin says nothing: one timer for a whole exchange, which costs a busy one next to nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

_T = TypeVar("_T")


class Silence:
    """Calls `on_broken` once the origin has been waited for so many seconds (None: never) without a sign of life.

    A sign is anything that `over` waits for, or the visitor's body going on its way (`moved`). While no visitor waits for the
    origin, because the visitor is slow, nothing is counted.
    """

    def __init__(self, seconds: float | None, on_broken: Callable[[], object]) -> None:
        self._seconds = seconds
        self._on_broken = on_broken
        self._loop = asyncio.get_running_loop()
        self._since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.broken = False

    async def over(self, wait: Awaitable[_T]) -> _T:
        """Wait for the origin's next word."""
        if self._seconds is None:
            return await wait
        self._since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)
        try:
            return await wait
        finally:
            self._since = None

    def moved(self) -> None:
        """Note that the request is still on its way."""
        if self._since is not None:
            self._since = self._loop.time()

    def stop(self) -> None:
        """Count no longer."""
        self._seconds = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        if self._seconds is None:
            return
        silent = 0.0 if self._since is None else self._loop.time() - self._since
        if silent >= self._seconds:
            self.broken = True
            self._on_broken()
        else:
            self._timer = self._loop.call_later(self._seconds - silent, self._look)
