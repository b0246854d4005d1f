"""Write to stdout or stderr without ever waiting on the event loop: a reader that stalls must not stall the tunnel.

A thread of its own writes to the descriptor, one text at a time. A caller that must not lose anything awaits `write` and is
held up itself; one that can lose something uses `offer`. A reader that went away (a closed pipe) is remembered, and the rest is
dropped in silence: the first program to read the URL and close the pipe must not end the tunnel. What a full disk does not take
is lost as well, which is said once; a text that was cut off ends its line before the next one.

If the machine has no thread left (`ulimit -u`), texts are written on the loop, in pieces that the reader has room for, until it
gives one: `write` waits for the reader without holding up others, `offer` drops what the reader does not take at once.
"""

from __future__ import annotations

import asyncio
import errno
import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress

from prx.core.shortage import NO_ROOM, RESOURCES

_FOR_NOW = NO_ROOM | RESOURCES  # EIO: the terminal is gone
_WAITING_LIMIT = 64  # texts that `offer` lets wait
_LOOK_EVERY = 0.05  # seconds, at a reader that takes nothing, without a thread


class NonBlockingWriter:
    """Own the writing side of the descriptor `fd`; closing it leaves the descriptor open.

    `on_loss(words)` is called, in any thread, when it begins to take no more for another reason than that its reader is gone.
    """

    def __init__(self, fd: int, on_loss: Callable[[str], object] = lambda _: None) -> None:
        self.gone = False
        self._fd = fd
        self._on_loss = on_loss
        self._loses = False
        self._is_cut = False  # the last text was, before its end
        self._texts: queue.SimpleQueue[tuple[bytes, asyncio.Future[None] | None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._has_thread()

    def _has_thread(self) -> bool:
        """Return whether a thread writes; start it if it could not be started before."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=f"outlet {self._fd}", daemon=True)
            with suppress(RuntimeError):
                thread.start()
                self._thread = thread
        return self._thread is not None

    async def write(self, text: str) -> None:
        """Return when `text` is written, or the reader is gone."""
        if not self._has_thread():
            await self._write_without_thread(_encode(text))
            return
        done = asyncio.get_running_loop().create_future()
        self._texts.put((_encode(text), done))
        await done

    def offer(self, text: str) -> bool:
        """Have `text` written soon, or drop it if too much waits already; return whether it is kept."""
        if not self._has_thread():
            return not self._write_some(_encode(text))
        if self._texts.qsize() >= _WAITING_LIMIT:
            return False
        self._texts.put((_encode(text), None))
        return True

    def close(self, seconds: float = 1.0) -> None:
        """Wait at most `seconds` for what waits to be written."""
        if self._thread is not None:
            self._texts.put(None)
            self._thread.join(seconds)

    async def _write_without_thread(self, data: bytes) -> None:
        while (data := self._write_some(data)) and not self.gone:  # noqa: ASYNC110 - a reader without a thread to wait for it
            await asyncio.sleep(_LOOK_EVERY)

    def _write_some(self, data: bytes) -> bytes:
        """Write what the reader takes now; return the rest."""
        import select

        while data and not self.gone and _takes(self._fd, 0):
            try:
                data = data[os.write(self._fd, data[: select.PIPE_BUF]) :]
            except BlockingIOError:
                return data
            except OSError as error:
                self._lose(error)
                return b""
        return data

    def _lose(self, error: OSError) -> None:
        """Give up this text, and the reader too, unless the machine refuses it for now: a full disk may have room again."""
        self.gone = error.errno not in _FOR_NOW
        if not self._loses and error.errno != errno.EPIPE:
            self._loses = True
            self._on_loss((error.strerror or str(error)).lower())

    def _run(self) -> None:
        while (item := self._texts.get()) is not None:
            data, done = item
            self._write(data)
            if done is not None:
                with suppress(RuntimeError):  # the loop has ended meanwhile
                    done.get_loop().call_soon_threadsafe(_finish, done)

    def _write(self, data: bytes) -> None:
        if self._is_cut and not self.gone:
            data = b"\n" + data
        while data and not self.gone:
            try:
                data = data[os.write(self._fd, data) :]
                self._loses, self._is_cut = False, bool(data)
            except BlockingIOError:  # another process made the descriptor non-blocking
                _takes(self._fd, 1000)
            except OSError as error:
                self._lose(error)
                return


def _encode(text: str) -> bytes:
    return text.encode(errors="backslashreplace")


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _takes(fd: int, milliseconds: int) -> bool:
    """Return whether `fd` takes something, or its reader is gone, within this time."""
    import select

    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(milliseconds))
