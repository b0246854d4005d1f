"""Read a child's pipe for as long as it is open, whatever becomes of the lines.

A child that writes into a full pipe stops: it serves no request, answers no signal. So the read end is emptied by the
event loop itself, up to `CHUNK` bytes per wakeup (so that one loud child starves nobody), and what a consumer does
with a line, or fails to do, never stops the reading.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass

from prx.logs.lines import LineSplitter

CHUNK = 64 * 1024
"""Bytes read per wakeup."""

SLOW_SECONDS = 0.1
"""A wakeup whose consumer took longer is counted in `StreamStats.slow`: everything else waited for it."""

LineConsumer = Callable[[str, bytes], None]


@dataclass(slots=True)
class StreamStats:
    """Count what came through one pipe; `errors` and `slow` are the consumer's, `cut` lines were too long."""

    bytes: int = 0
    lines: int = 0
    cut: int = 0
    errors: int = 0
    slow: int = 0
    last_error: str = ""
    closed: bool = False


class PipeReader:
    """Empty the non-blocking read end `fd`, which it owns from now on, and hand whole lines to `on_line(name, line)`."""

    def __init__(self, name: str, fd: int, on_line: LineConsumer, on_close: Callable[[str], None]) -> None:
        self.name = name
        self.stats = StreamStats()
        self._fd = fd
        self._on_line = on_line
        self._on_close = on_close
        self._splitter = LineSplitter()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(fd, self._readable)

    @property
    def inode(self) -> int:
        """Return the number that names this pipe in /proc/PID/fd; 0 once it is closed."""
        return 0 if self.stats.closed else os.fstat(self._fd).st_ino

    def _readable(self) -> None:
        started = self._loop.time()
        if not self._read():
            self.close()
        if self._loop.time() - started > SLOW_SECONDS:
            self.stats.slow += 1

    def _read(self) -> int | None:
        """Read once: bytes read, 0 at the end of the stream, None when there is nothing now."""
        try:
            chunk = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            return 0
        self.stats.bytes += len(chunk)
        self._hand_out(self._splitter.feed(chunk))
        return len(chunk)

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
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._hand_out(self._splitter.finish())
        self._on_close(self.name)

    def _hand_out(self, lines: list[bytes]) -> None:
        for line in lines:
            try:
                self._on_line(self.name, line)
            except Exception as error:  # noqa: BLE001 - a consumer's bug must not block the child
                self.stats.errors += 1
                self.stats.last_error = repr(error)
        self.stats.lines = self._splitter.lines
        self.stats.cut = self._splitter.cut
