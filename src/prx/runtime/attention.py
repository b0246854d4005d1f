"""Notice that prx itself was not running: what came too late then proves nothing about others.

On a machine that is short of processor time (or that pauses prx for a moment) a limit is over although the answer lies ready in
the socket. `Attention` beats while a check waits; a beat that comes late by `LAPSE` or more shows that this process was held
up. It costs one timer while a check is under way, and none between checks. Pauses of `PAUSED_AT_LEAST` and more are seen by
`prx.runtime.host.change_monitor`, also between checks.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

BEAT = 0.2  # seconds
LAPSE = 0.5  # seconds by which a beat is late if the process was held up; a busy loop of hundreds of tunnels stays below


class Attention:
    """A context in which the event loop is watched. longest: the most seconds by which it was late so far."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.longest = 0.0
        self._loop = loop or asyncio.get_running_loop()
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def lapsed(self) -> bool:
        """Return whether the process was held up: a time-out in the context means nothing then."""
        self._measure()
        return self.longest >= LAPSE

    def __enter__(self) -> Self:
        """Begin to beat."""
        self._next()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Beat no more."""
        self._measure()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> None:
        self._measure()
        self._next()

    def _next(self) -> None:
        self._due = self._loop.time() + BEAT
        self._timer = self._loop.call_at(self._due, self._beat)

    def _measure(self) -> None:
        if self._timer is not None:
            self.longest = max(self.longest, self._loop.time() - self._due)
