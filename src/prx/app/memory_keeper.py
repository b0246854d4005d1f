"""Return memory when it is free for good: after a start, and after a peak.

Theory of operation. What a start needed is returned once its URL was shown; if none comes, some seconds after the last child
was started, and so it is after each restart; once more when prx has been at work for a moment, and what has come up is set
aside then. A peak (a flood of the child's log, a reader that did not read, a large request) leaves two things behind: cycles of
objects that the collector would find an hour later, and a heap whose upper end is held by a small block that was allocated at
the height of the peak. Both go back once the peak is over.

Nothing wakes prx for that. Each event, and each end of a conversation on the control socket, is an occasion to read how much
memory is in use, once in `LOOK_EVERY` seconds; every health check publishes an event. A timer runs only after growth. Memory
that stays in use is asked for a few times, each after twice the wait, and is then taken for what prx needs. The second of these
tries is thorough: what was set aside while a peak was under way may hold what the peak left. Only half of what counts as growth
ends that: memory that varies about a single limit would be asked for without end.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from prx.app.memory import freeze_objects, return_free_memory, return_heap
from prx.core.events import ChildStarted, Event
from prx.runtime.host.clock import Clock, TimerHandle

AFTER_URL = 0.5  # seconds: the URL is shown first
AFTER_START = 10.0  # seconds without a further start
STARTS_AT_MOST = 60.0  # seconds of starts, one after the other, that are waited for
LOOK_EVERY = 1.0  # seconds; to look takes some 20 µs
GROWTH = 2 * 1024 * 1024  # bytes, or an eighth of what is in use; a quiet prx varies by less than one MiB
AFTER_PEAK = 1.0  # seconds without growth by a quarter of that
FIRST_WAIT = 5.0  # seconds from one return after a peak to the next
LAST_WAIT = 320.0  # seconds
_STATM = Path("/proc/self/statm")


class MemoryKeeper:
    """Return memory from construction to `close`; `see` is called with every event, `settled` when the first URLs are shown.

    `own_memory()` returns the bytes in use that no file holds, None if the system does not report them: only what starts
    needed is returned then.
    """

    def __init__(self, clock: Clock, *, own_memory: Callable[[], int | None] | None = None) -> None:
        self._clock = clock
        self._own_memory = own_memory or read_own_memory
        self._least: int | None = None  # bytes in use without a peak; None if not known since the last start
        self._looked_at = float("-inf")
        self._returned_at = float("inf")  # not yet
        self._wait = FIRST_WAIT
        self._is_up = False  # and was not set aside
        self._peak: TimerHandle | None = None
        self._start: TimerHandle | None = None
        self._started()

    def close(self) -> None:
        """Return nothing more."""
        for timer in (self._peak, self._start):
            if timer is not None:
                timer.cancel()

    def see(self, event: Event) -> None:
        """Take in an event: a start, or an occasion to look."""
        if isinstance(event.fact, ChildStarted):
            self._started()
        self.look()

    def look(self) -> None:
        """Have memory returned soon if there is more in use than there was without a peak; quick, and may be called often."""
        now = self._clock.monotonic()
        if now - self._looked_at >= LOOK_EVERY:
            self._looked_at = now
            self._compare(now)

    def settled(self) -> None:
        """Return what the start needed, and later set aside what has come up: all URLs are shown, or will not be."""
        self._is_up = True
        self._last_start = float("-inf")
        self._arm(AFTER_URL)

    # ------------------------------------------------------------------ starts

    def _started(self) -> None:
        now = self._clock.monotonic()
        self._last_start = now
        if self._start is None:
            self._first_start = now
            self._arm(AFTER_START)

    def _arm(self, delay: float) -> None:
        if self._start is not None:
            self._start.cancel()
        self._start = self._clock.call_later(delay, self._after_start)

    def _after_start(self) -> None:
        now = self._clock.monotonic()
        due = min(self._last_start + AFTER_START, self._first_start + STARTS_AT_MOST)
        if now < due:
            self._arm(due - now)
            return
        self._start = None
        return_free_memory()
        self._least, self._wait, self._returned_at = None, FIRST_WAIT, now  # not known: a peak may be under way
        if self._own_memory() is None:
            self._set_aside()

    def _set_aside(self) -> None:
        if self._is_up:
            self._is_up = False
            freeze_objects()

    # ------------------------------------------------------------------ peaks

    def _compare(self, now: float) -> None:
        if self._peak is not None or now < self._returned_at + self._wait or (used := self._own_memory()) is None:
            return
        if self._least is not None and used < self._least + self._growth:
            if used < self._least + self._growth // 2:
                self._wait = FIRST_WAIT
            self._least = min(self._least, used)
        else:
            self._peak = self._clock.call_later(AFTER_PEAK, partial(self._after_peak, used))

    @property
    def _growth(self) -> int:
        """The bytes that are more than a quiet prx varies by."""
        return max(GROWTH, (self._least or 0) // 8)

    def _after_peak(self, before: int) -> None:
        """Return what a peak left, unless it goes on."""
        used = self._own_memory()
        if used is not None and used >= before + self._growth // 4:
            self._peak = self._clock.call_later(AFTER_PEAK, partial(self._after_peak, used))
            return
        self._peak = None
        return_heap(thorough=self._wait == 2 * FIRST_WAIT)
        self._set_aside()
        if used is not None and (left := self._own_memory()) is not None:  # else it is not known for now: no descriptor is left
            self._judge(used, left)
        self._returned_at = self._clock.monotonic()

    def _judge(self, used: int, left: int) -> None:
        """Decide by what a return has achieved when the next one makes sense, and what counts as growth."""
        least, growth = left if self._least is None else self._least, self._growth
        if left < least + growth // 2 or left <= used - growth:
            self._wait = FIRST_WAIT
            self._least = min(least, left)
        elif self._wait < LAST_WAIT:
            self._wait *= 2
        else:
            self._wait, self._least = FIRST_WAIT, left  # that much is needed now


def read_own_memory() -> int | None:
    """Return the bytes of this process that are in memory and belong to no file (proc(5): statm); None if not reported."""
    try:
        _, resident, shared, *_ = _STATM.read_bytes().split()
    except (OSError, ValueError):
        return None
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
