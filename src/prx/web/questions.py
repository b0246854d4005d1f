"""What is asked of a prx for its readers: one question at a time, and an answer serves every reader for a moment.

A page that hundreds have open, or one that is loaded without end, costs the prx behind it no more than that.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

from prx.control.messages import Message
from prx.core.errors import NotReadyError, PrxError
from prx.web.hub import Hub, Seen
from prx.web.link import ANSWER_SECONDS

KEEP_SECONDS: Final = 1.0
MOST_KEPT: Final = 8
LONG_SECONDS: Final = 20.0  # a large body takes prx a moment
REPLAY_SECONDS: Final = 40.0  # the service has 30


class Questions:
    """Ask the prx that `hub` follows. `now` returns seconds that never go back."""

    def __init__(self, hub: Hub, now: Callable[[], float] = time.monotonic) -> None:
        self._hub = hub
        self._now = now
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._replaying: set[str] = set()
        self._kept: dict[tuple[object, ...], tuple[float, Message]] = {}

    async def requests(self, seen: Seen, tunnel: str | None, *, wanted: str, limit: int, own: bool) -> Message:
        """Return the last requests of a tunnel that is inspected, oldest first."""
        return await self._ask(seen, "requests", tunnel=tunnel, filter=wanted, limit=limit, own=own)

    async def request(self, seen: Seen, tunnel: str | None, number: int) -> dict[str, Any]:
        """Return everything that is kept of one request."""
        answer = await self._ask(seen, "request", LONG_SECONDS, tunnel=tunnel, id=number)
        found: dict[str, Any] = answer["request"]
        return found

    async def story(self, seen: Seen, tunnel: str) -> dict[str, Any]:
        """Return what `prx why --json` prints of a tunnel."""
        found: dict[str, Any] = (await self._ask(seen, "why", tunnel=tunnel))["tunnels"][0]
        return found

    async def replay(self, seen: Seen, tunnel: str | None, number: int, at: str | None) -> dict[str, Any]:
        """Have a request sent to the service again, if it is the one that began at `at`; return what came of it."""
        asked: dict[str, Any] = {"tunnel": tunnel, "id": number, "at": at}
        if seen.key in self._replaying:
            raise PrxError("a request is being sent again just now", hint="wait for its answer: 30 seconds at most")
        self._replaying.add(seen.key)
        try:
            answer = await self._hub.ask(seen, "replay", timeout=REPLAY_SECONDS, **asked)
        finally:
            self._replaying.discard(seen.key)
        found: dict[str, Any] = answer["request"]
        return found

    async def _ask(self, seen: Seen, do: str, timeout: float = ANSWER_SECONDS, **arguments: Any) -> Message:
        key = (seen.key, seen.pid, do, *arguments.values())
        async with self._turns[seen.key]:
            kept = self._kept.get(key)
            if kept is not None and self._now() - kept[0] < KEEP_SECONDS:
                return kept[1]
            if any(item.gone_at is not None for item in self._hub.seen if item.key == seen.key):
                raise NotReadyError("prx does not answer")
            answer = await self._hub.ask(seen, do, timeout=timeout, **arguments)
            self._kept = {name: item for name, item in self._kept.items() if self._now() - item[0] < KEEP_SECONDS}
            while len(self._kept) >= MOST_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = (self._now(), answer)
            return answer
