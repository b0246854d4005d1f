"""Write lines without making the caller wait: a bounded queue and a thread that writes.

Theory of operation
-------------------
`put` appends to a queue and returns; it takes no lock that is held during a write. One thread takes the whole queue at a
time and hands it to its target, the rotating file. When the queue is full, because the disk is slow or full, lines are dropped
and counted, and the gap is marked in its place by one line when the target takes lines again. A target that refuses raises one
alarm a minute, no more.

The thread is not a daemon: `close` writes what is queued and joins it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from prx.logs.files import RotatingFile

QUEUE_BYTES = 8 * 1024 * 1024
"""Most bytes waiting to be written; more are dropped."""

STALL_SECONDS = 2.0
"""A caller that can wait for the target (`is_behind`) waits no longer than this for one write."""

ALARM_SECONDS = 60.0
"""At most one alarm in this time."""

Alarm = Callable[[str], None]


class Target(Protocol):
    """Take lines, or pieces of several, in the writing thread."""

    def write(self, lines: Sequence[bytes]) -> int:
        """Write them in order, return how many; OSError or MemoryError if none could be."""

    def close(self) -> None:
        """Free what it holds."""


class Sink:
    """Write lines to a target in a thread of its own, from construction to `close`.

    If the machine has no thread left, lines wait for one, within the bounds of the queue; `close` writes them at last.

    `dropped` counts lines that were never written, `written` those that were. `on_alarm(text)` is called in the writing
    thread, at most once a minute while the target refuses. `gap(count)` returns the line that stands for dropped ones.
    `clock` returns monotonic seconds.
    """

    def __init__(
        self,
        target: Target,
        *,
        name: str = "log",
        queue_bytes: int = QUEUE_BYTES,
        on_alarm: Alarm | None = None,
        gap: Callable[[int], bytes],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dropped = 0
        self.written = 0
        self._target, self._on_alarm, self._gap, self._clock = target, on_alarm, gap, clock
        self._room = queue_bytes
        self._queue: deque[tuple[bytes, int]] = deque()  # with the number of lines in it
        self._untold = 0
        self._half = queue_bytes // 2
        self._began = float("-inf")  # the present write, or the last one
        self._next_alarm = float("-inf")
        self._closing = False
        self._changed = threading.Condition()
        self._name = f"{name}-writer"
        self._thread: threading.Thread | None = None
        self._start()

    def _start(self) -> None:
        """Start the thread, if it does not run; the next line tries again if it cannot be started."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=self._name)
            with suppress(RuntimeError):
                thread.start()
                self._thread = thread

    def put(self, stored: bytes, *, lines: int = 1) -> bool:
        """Queue one line, or so many in one piece (without the last newline); False if it is dropped.

        Never waits for a write, from any thread.
        """
        with self._changed:
            if self._closing or self._room < len(stored):
                self.dropped += lines
                self._untold += lines
                return False
            self._room -= len(stored)
            self._queue.append((stored, lines))
            self._start()
            self._changed.notify()
            return True

    @property
    def is_behind(self) -> bool:
        """Return whether more than half of the queue waits for a target that does take lines: to wait a moment loses none."""
        return self._room < self._half and self._clock() < self._began + STALL_SECONDS

    def close(self) -> None:
        """Write what is queued and end the thread. Later lines are dropped."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is None:
            self._run()
            self._target.close()
            return
        self._thread.join()
        self._target.close()

    def _run(self) -> None:
        while (batch := self._take()) is not None:
            self._began = self._clock()
            self._write(batch)
            with self._changed:
                self._room += sum(len(stored) for stored, _ in batch)
            batch.clear()  # else it would be kept, megabytes after a flood, until there is a next one

    def _take(self) -> list[tuple[bytes, int]] | None:
        with self._changed:
            while not self._queue:
                if self._closing:
                    return None
                self._changed.wait()
            batch = list(self._queue)
            self._queue.clear()
            return batch

    def _write(self, batch: list[tuple[bytes, int]]) -> None:
        with self._changed:
            untold = self._untold
        gap = [self._gap(untold)] if untold else []
        try:
            count = self._target.write([*gap, *(stored for stored, _ in batch)])
            reason = ""
        except MemoryError:
            count, reason = 0, "no memory"
        except OSError as error:
            count, reason = 0, error.strerror or type(error).__name__
        done = max(0, count - len(gap))
        lines = sum(number for _, number in batch[:done])
        lost = sum(number for _, number in batch[done:])
        with self._changed:
            self.written += lines
            self.dropped += lost
            self._untold += lost - (untold if count else 0)
        if lost and not self._closing:
            self._alarm(reason or "no space or no reader")

    def _alarm(self, reason: str) -> None:
        now = self._clock()
        if self._on_alarm is not None and now >= self._next_alarm:
            self._next_alarm = now + ALARM_SECONDS
            dropped = f"{self.dropped} line{'' if self.dropped == 1 else 's'} dropped so far"
            self._on_alarm(f"the log cannot be written: {reason}; {dropped}")


def file_sink(
    path: Path,
    *,
    gap: Callable[[int], bytes],
    max_bytes: int = 10 * 1024 * 1024,
    backups: int = 3,
    on_alarm: Alarm | None = None,
) -> Sink:
    """Return a sink for a rotating file; `gap` must give a record, as every line of the file is one."""
    return Sink(RotatingFile(path, max_bytes=max_bytes, backups=backups), name=path.name, on_alarm=on_alarm, gap=gap)
