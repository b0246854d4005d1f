"""Virtual time: a clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable


class ManualTimer:
    """A timer of a `ManualClock`."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        """Take it back; harmless when it has fired."""
        self.cancelled = True


class ManualClock:
    """A `prx.runtime.host.clock.Clock` that a test moves with `advance`. All readings are seconds.

    `wall` begins at 2026-01-01 and moves along; `suspend` lets it and `boottime` run ahead of `monotonic`, as a machine does
    that sleeps; `set_wall` lets the wall clock jump alone.
    """

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start
        self._asleep = 0.0
        self._wall_ahead = 1767225600.0 - start
        self._timers: list[tuple[float, int, ManualTimer]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        """Return the virtual time."""
        return self._now

    def boottime(self) -> float:
        """Return the virtual time with all suspensions in it."""
        return self._now + self._asleep

    def wall(self) -> float:
        """Return virtual seconds since 1970."""
        return self._now + self._asleep + self._wall_ahead

    def call_later(self, delay: float, callback: Callable[[], None]) -> ManualTimer:
        """Call `callback` when the clock has been moved on by `delay` seconds."""
        timer = ManualTimer(callback)
        heapq.heappush(self._timers, (self._now + delay, next(self._order), timer))
        return timer

    async def sleep(self, delay: float) -> None:
        """Wait until the clock has been moved on by `delay` seconds."""
        done = asyncio.Event()
        timer = self.call_later(delay, done.set)
        try:
            await done.wait()
        finally:
            timer.cancel()

    def suspend(self, seconds: float) -> None:
        """Put the machine to sleep."""
        self._asleep += seconds

    def set_wall(self, seconds_ahead: float) -> None:
        """Set the wall clock forward or back."""
        self._wall_ahead += seconds_ahead

    def next_at(self) -> float | None:
        """Return when the next timer is due, None when there is none."""
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def advance_to_next(self, until: float) -> bool:
        """Move on to the next timer that is due by `until` and fire it; without one move on to `until` and return False."""
        at = self.next_at()
        if at is None or at > until:
            self._now = max(self._now, until)
            return False
        self._now = max(self._now, at)
        heapq.heappop(self._timers)[2].callback()
        return True

    def advance(self, seconds: float) -> None:
        """Move on by `seconds`, firing what is due, each timer at its own time."""
        until = self._now + seconds
        while self.advance_to_next(until):
            pass
