"""Read a child's pipe for as long as it is open, whatever becomes of the lines.

A child that writes into a full pipe stops: it serves no request, answers no signal. So the read end is emptied by the
event loop itself, a bounded piece per wakeup (so that one loud child does not starve the others), and what a consumer does
with a line, or fails to do, never stops the reading. Only a flood waits in its pipe for as long as its consumer says that it is
behind, so that a child writes no faster than its lines can be kept.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from prx.logs.lines import LineSplitter

CHUNK = 64 * 1024
"""Bytes read per wakeup."""

FLOOD_CHUNK = 256 * 1024
"""Bytes read per wakeup if the pipe has always been full and its lines are dealt with quickly."""

FLOOD_AFTER = 8
"""A pipe that was full in so many wakeups in a row is flooded."""

QUICK_SECONDS = 0.002
"""Twice as much is read at the next wakeup if this one's lines took less processor time."""

PAUSE_SECONDS = 0.005
"""How long a flood is left in its pipe while what takes its lines is behind."""

GATHER_SECONDS = 0.001
"""How long many lines that came one by one gather in their pipe before the next wakeup, which costs as much as some 20 KiB of
them, and keeps the child from writing meanwhile. The event loop cannot wait for less."""

LOG_PIPE = 256 * 1024
"""Bytes that a child's pipe holds, four times Linux's default: room for a pause of the event loop."""

FLOOD_PIPE = 1024 * 1024
"""Bytes that a flooded pipe holds, so that the child writes on while its lines gather: what Linux allows at most (pipe(7))."""

FLOOD = 8 * 1024
"""The lines of so many bytes, or more, go to `on_block` together."""


def set_pipe_size(fd: int, size: int) -> None:
    """Set how many bytes a pipe may hold, if the system permits it.

    Linux refuses if the user's quota of pipes is used up, or if more is in the pipe now (pipe(7)).
    """
    if sys.platform == "linux":
        with suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, size)


LineConsumer = Callable[[str, bytes], None]
BlockConsumer = Callable[[str, bytes], int]


@dataclass(slots=True)
class StreamStats:
    """Counts what came through one pipe: whole lines, and those of them that were too long and cut."""

    lines: int = 0
    cut: int = 0
    closed: bool = False


class PipeReader:
    """Empty the non-blocking read end `fd`, which it owns from now on, and hand whole lines to `on_line(name, line)`.

    What `on_line` raises goes to `on_error`, and the pipe is read on. `on_close(name)` is called once, at the end. `on_block`,
    if given, gets many lines at once, each with its newline, and returns their number. `is_behind`: whether a flood shall wait.
    """

    def __init__(
        self,
        name: str,
        fd: int,
        on_line: LineConsumer,
        on_close: Callable[[str], None],
        on_error: Callable[[Exception], None],
        *,
        on_block: BlockConsumer | None = None,
        is_behind: Callable[[], bool] = lambda: False,
    ) -> None:
        self.name = name
        self.stats = StreamStats()
        self._fd = fd
        self._on_line = on_line
        self._on_close = on_close
        self._on_error = on_error
        self._on_block = on_block
        self._is_behind = is_behind
        self._pause: asyncio.TimerHandle | None = None
        self._size = CHUNK
        self._full = 0  # wakeups in a row that have read all that they might
        self._splitter = LineSplitter()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(fd, self._readable)

    @property
    def inode(self) -> int:
        """Return the number that names this pipe in /proc/PID/fd; 0 once it is closed."""
        return 0 if self.stats.closed else os.fstat(self._fd).st_ino

    def _readable(self) -> None:
        if self._full >= FLOOD_AFTER and self._is_behind():
            self._leave(PAUSE_SECONDS)
            return
        size = self._read()
        if size == 0:
            self.close()
        elif size is not None and FLOOD <= size < self._size // 2:
            self._leave(GATHER_SECONDS)

    def _leave(self, seconds: float) -> None:
        if not self.stats.closed:
            self._loop.remove_reader(self._fd)
            self._pause = self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._loop.add_reader(self._fd, self._readable)

    def _read(self) -> int | None:
        """Read once: bytes read, 0 at the end of the stream, None if there is nothing now."""
        try:
            chunk = os.read(self._fd, self._size)
        except BlockingIOError:
            return None
        except OSError:
            return 0
        if len(chunk) < FLOOD:
            self._full = 0
            self._read_less()
            self._hand_out(self._splitter.feed(chunk))
        else:
            self._deal_with_many(chunk)
        return len(chunk)

    def _deal_with_many(self, chunk: bytes) -> None:
        """Hand out many lines, and decide from what they cost how much is read next time."""
        began = time.thread_time()
        if not self._hand_out_block(chunk):
            self._hand_out(self._splitter.feed(chunk))
        self._full = self._full + 1 if len(chunk) >= CHUNK else 0
        if time.thread_time() - began > QUICK_SECONDS:
            self._read_less()
        elif len(chunk) == self._size:
            self._read_more()

    def _read_more(self) -> None:
        if self._size < FLOOD_CHUNK:
            self._size *= 2
            if self._size == FLOOD_CHUNK:
                set_pipe_size(self._fd, FLOOD_PIPE)

    def _read_less(self) -> None:
        if self._size > CHUNK:
            self._size //= 2
            if self._size == CHUNK:
                set_pipe_size(self._fd, LOG_PIPE)

    def read_rest(self, limit: int) -> None:
        """Read what is in the pipe now, at most about `limit` bytes, without waiting for more."""
        while not self.stats.closed and limit > 0:
            size = self._read()
            if size is None:
                return
            if size == 0:
                self.close()
            limit -= size

    def close(self) -> None:
        """Hand out an unfinished last line and close the pipe; harmless when closed."""
        if self.stats.closed:
            return
        self.stats.closed = True
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._hand_out(self._splitter.finish())
        self._on_close(self.name)

    def _hand_out_block(self, chunk: bytes) -> bool:
        """Hand out the whole lines of a chunk as one; return whether they can be."""
        if self._on_block is None or (block := self._splitter.take_block(chunk)) is None:
            return False
        try:
            self._splitter.lines += self._on_block(self.name, block)
        except Exception as error:  # noqa: BLE001 - a consumer's bug must not block the child
            self._splitter.lines += block.count(b"\n")
            self._on_error(error)
        self.stats.lines = self._splitter.lines
        return True

    def _hand_out(self, lines: list[bytes]) -> None:
        for line in lines:
            try:
                self._on_line(self.name, line)
            except Exception as error:  # noqa: BLE001 - as above
                self._on_error(error)
        self.stats.lines = self._splitter.lines
        self.stats.cut = self._splitter.cut
