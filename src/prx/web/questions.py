"""What is asked of a prx for its readers: one question at a time, and an answer serves every reader for a moment.

After a question that took a while none is put to the same prx for three times as long, so that readers cost it at most a
quarter of its time, however they vary what they ask. Who would have to wait too long for a turn is refused. A page that
hundreds have open, or one that is loaded without end, costs the prx behind it no more than that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from prx.control.messages import Message
from prx.core.errors import NotReadyError, PrxError
from prx.traffic.replay import LONGEST
from prx.web.hub import Hub, Seen
from prx.web.link import ANSWER_SECONDS

KEEP_SECONDS: Final = 1.0
MOST_KEPT: Final = 8
LONG_SECONDS: Final = 20.0  # a large body takes prx a moment
REPLAY_SECONDS: Final = LONGEST + 10
PAUSE_FACTOR: Final = 3.0  # a quarter of a prx's time at most
LONGEST_PAUSE: Final = 10.0  # after a question without an answer, too
TURN_SECONDS: Final = 10.0

Sleep = Callable[[float], Awaitable[None]]


class _Turns:
    """The turns at one prx, which come one after the other and leave it time. `now` and `sleep` take seconds."""

    def __init__(self, now: Callable[[], float], sleep: Sleep) -> None:
        self._now = now
        self._sleep = sleep
        self._lock = asyncio.Lock()
        self._free_at = 0.0

    @property
    def is_taken(self) -> bool:
        """Return whether a turn is had or waited for."""
        return self._lock.locked()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it inside the block; NotReadyError if that takes too long."""
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._lock.acquire()
        except TimeoutError:
            raise NotReadyError("prx has been asked too much just now", hint="try again in a moment") from None
        try:
            yield
        finally:
            self._lock.release()

    @asynccontextmanager
    async def question(self) -> AsyncIterator[None]:
        """Put a question inside the block: not before the time that the last one gave to prx is over."""
        if (wait := self._free_at - self._now()) > 0:
            await self._sleep(wait)
        began = self._now()
        try:
            yield
        finally:
            ended = self._now()
            self._free_at = ended + min(PAUSE_FACTOR * (ended - began), LONGEST_PAUSE)


class Questions:
    """Ask the prx that `hub` follows. `now` returns seconds that never go back; `sleep` waits for some."""

    def __init__(self, hub: Hub, now: Callable[[], float] = time.monotonic, sleep: Sleep = asyncio.sleep) -> None:
        self._hub = hub
        self._now = now
        self._sleep = sleep
        self._turns: dict[str, _Turns] = {}
        self._replaying: set[str] = set()
        self._kept: dict[tuple[object, ...], tuple[float, Message]] = {}

    async def requests(self, seen: Seen, tunnel: str | None, *, wanted: str, limit: int, own: bool, after: int = 0) -> Message:
        """Return the last requests of a tunnel that is inspected, oldest first; or the first that were answered `after` one."""
        return await self._ask(seen, "requests", tunnel=tunnel, filter=wanted, limit=limit, own=own, after=after)

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
            raise PrxError("a request is being sent again just now", hint=f"wait for its answer: {LONGEST:.0f} seconds at most")
        self._replaying.add(seen.key)
        try:
            answer = await self._hub.ask(seen, "replay", timeout=REPLAY_SECONDS, **asked)
        finally:
            self._replaying.discard(seen.key)
        found: dict[str, Any] = answer["request"]
        return found

    async def _ask(self, seen: Seen, do: str, timeout: float = ANSWER_SECONDS, **arguments: Any) -> Message:
        key = (seen.key, seen.pid, do, *arguments.values())
        if (kept := self._fresh(key)) is not None:
            return kept
        turns = self._turns_of(seen.key)
        async with turns.one():
            if (kept := self._fresh(key)) is not None:
                return kept
            if any(item.gone_at is not None for item in self._hub.seen if item.key == seen.key):
                raise NotReadyError("prx does not answer")
            async with turns.question():
                answer = await self._hub.ask(seen, do, timeout=timeout, **arguments)
            self._keep(key, answer)
            return answer

    def _turns_of(self, key: str) -> _Turns:
        """Return the turns at one prx; those at a prx that is not followed any more are forgotten with the next new one."""
        if key not in self._turns:
            followed = {item.key for item in self._hub.seen}
            self._turns = {name: turns for name, turns in self._turns.items() if name in followed or turns.is_taken}
            self._turns[key] = _Turns(self._now, self._sleep)
        return self._turns[key]

    def _fresh(self, key: tuple[object, ...]) -> Message | None:
        at, answer = self._kept.get(key, (0.0, None))
        return answer if self._now() - at < KEEP_SECONDS else None

    def _keep(self, key: tuple[object, ...], answer: Message) -> None:
        self._kept = {name: item for name, item in self._kept.items() if self._now() - item[0] < KEEP_SECONDS}
        while len(self._kept) >= MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = (self._now(), answer)
