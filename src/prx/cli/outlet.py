"""Write to stdout or stderr without ever waiting on the event loop: a reader that stalls must not stall the tunnel.

A thread of its own writes to the descriptor, one text at a time. Who must not lose anything awaits `write` and is held up
itself; who can lose something uses `offer`. A reader that went away (a closed pipe) is remembered, and the rest is dropped in
silence: the first program to read the URL and close the pipe must not end the tunnel.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from contextlib import suppress

_WAITING_LIMIT = 64  # texts that `offer` lets wait


class Outlet:
    """Own the writing side of the descriptor `fd`; closing it leaves the descriptor open."""

    def __init__(self, fd: int) -> None:
        self.gone = False
        self._fd = fd
        self._texts: queue.SimpleQueue[tuple[bytes, asyncio.Future[None] | None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"outlet {fd}", daemon=True)
        self._thread.start()

    async def write(self, text: str) -> None:
        """Return when `text` is written, or the reader is gone."""
        done = asyncio.get_running_loop().create_future()
        self._texts.put((_encode(text), done))
        await done

    def offer(self, text: str) -> bool:
        """Have `text` written soon, or drop it where too much waits already; tell which."""
        if self._texts.qsize() >= _WAITING_LIMIT:
            return False
        self._texts.put((_encode(text), None))
        return True

    def close(self, seconds: float = 1.0) -> None:
        """Wait at most `seconds` for what waits to be written."""
        self._texts.put(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        while (item := self._texts.get()) is not None:
            data, done = item
            self._write(data)
            if done is not None:
                with suppress(RuntimeError):  # the loop has ended meanwhile
                    done.get_loop().call_soon_threadsafe(_finish, done)

    def _write(self, data: bytes) -> None:
        while data and not self.gone:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:  # somebody else made the descriptor non-blocking
                _wait_writable(self._fd)
            except OSError:
                self.gone = True


def _encode(text: str) -> bytes:
    return text.encode(errors="backslashreplace")


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _wait_writable(fd: int) -> None:
    import select

    select.select([], [fd], [], 1.0)
