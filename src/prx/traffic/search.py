"""A search for requests that fit, which may wait until one does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from prx.traffic.exchange import Exchange
from prx.traffic.filters import Fits


class Search:
    """Finds those that fit; in a thread, for bodies are searched, and unpacked for it.

    `answered()` returns all that were answered, `another()` waits for one. `found`: those that were judged; `fitting`: of them.
    """

    def __init__(self, wanted: Fits, answered: Callable[[], list[Exchange]], another: Callable[[], Awaitable[None]]) -> None:
        self._wanted, self._answered, self._another = wanted, answered, another
        self.found: list[Exchange] = []
        self.fitting: list[Exchange] = []

    async def once(self) -> None:
        """Judge all that were answered."""
        items = self._answered()
        self.fitting = await asyncio.to_thread(lambda: [item for item in items if self._wanted(item)])
        self.found = items  # if it is given up before that, they are for the next question

    async def until(self, seconds: float) -> None:
        """Go on until one fits, or the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.fitting:
                    if _newest(self._answered()) == _newest(self.found):
                        await self._another()
                    else:
                        await self.once()


def _newest(items: list[Exchange]) -> dict[str, int]:
    """Return for each tunnel which answer was the last to begin."""
    return {item.tunnel: item.answered for item in sorted(items, key=lambda item: item.answered)}
