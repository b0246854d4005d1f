"""Notice that the wall clock was set, so that no age is ever taken from two readings of different clocks.

A time that is kept (since when a tunnel is up, when it is tried again) is shown beside the present wall clock. When that is set
by hours, the kept time belongs to a clock that has gone: its keeper moves it by the same amount, and its age stays true.
"""

from __future__ import annotations

from prx.runtime.host.clock import Clock

JUMP: float = 1.0
"""Seconds by which the wall clock must be off what has really passed; less than that is the clock's own discipline."""


class WallJumps:
    """Compares the wall clock with the one that cannot be set and goes on while the machine sleeps."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = self._read()

    def since_last(self) -> float:
        """Return by how many seconds the wall clock was set since the last call (negative: back); 0.0 if it was not."""
        ahead = self._read()
        jump = ahead - self._ahead
        if abs(jump) < JUMP:
            return 0.0
        self._ahead = ahead
        return jump

    def _read(self) -> float:
        return self._clock.wall() - self._clock.boottime()
