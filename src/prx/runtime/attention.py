"""Notice that prx itself was not running: what came too late then proves nothing about others.

On a machine that is short of processor time (or that pauses prx for a moment) a limit is over although the answer lies ready
in the socket. `Attention` beats while a check waits; a beat that comes late by `LAPSE` or more shows that this process was
held up. It costs one timer while any check is under way, however many are, and none between checks. Pauses of
`PAUSED_AT_LEAST` and more are seen by `prx.runtime.host.change_monitor`, also between checks.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

BEAT = 0.2  # seconds
LAPSE = 0.5  # seconds by which a beat is late if the process was held up; a busy loop of hundreds of tunnels stays below


class Attention:
    """A context in which the event loop is watched. longest: the most seconds by which it was late, if that was a lapse."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.longest = 0.0
        self._loop = loop or asyncio.get_running_loop()
        self._began = 0.0
        self._pulse: _Pulse | None = None

    @property
    def lapsed(self) -> bool:
        """Return whether the process was held up: a time-out in the context means nothing then."""
        if self._pulse is not None:
            self.take(self._pulse.due)
        return self.longest >= LAPSE

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._began = self._loop.time()
        self._pulse = _pulses.setdefault(self._loop, _Pulse(self._loop))
        self._pulse.join(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop watching."""
        if self._pulse is not None:
            self.take(self._pulse.due)
            self._pulse.leave(self)
            self._pulse = None

    def take(self, due: float) -> None:
        """Take in that a beat is over, or has not come yet, that was due at `due` on the loop's clock."""
        self.longest = max(self.longest, self._loop.time() - max(due, self._began))


class _Pulse:
    """The beat of one loop, for all that watch it; `due`: when the next one is."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.due = 0.0
        self._loop = loop
        self._watching: set[Attention] = set()
        self._timer: asyncio.TimerHandle | None = None

    def join(self, attention: Attention) -> None:
        self._watching.add(attention)
        if self._timer is None:
            self._next()

    def leave(self, attention: Attention) -> None:
        self._watching.discard(attention)
        if not self._watching and self._timer is not None:
            self._timer.cancel()
            del _pulses[self._loop]

    def _beat(self) -> None:
        if self._loop.time() - self.due >= LAPSE:  # else it is news to none of hundreds
            for attention in self._watching:
                attention.take(self.due)
        self._next()

    def _next(self) -> None:
        self.due = self._loop.time() + BEAT
        self._timer = self._loop.call_at(self.due, self._beat)


_pulses: dict[asyncio.AbstractEventLoop, _Pulse] = {}  # of the loops in which anything is watched
