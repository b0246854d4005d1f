"""What streams of both carriers share: bytes that wait to be read, with their flow-control credit, and one who waits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Waiter:
    """A place where one task at a time waits until it is woken; it then checks again for what it waits for."""

    def __init__(self) -> None:
        self._future: asyncio.Future[None] | None = None

    @property
    def taken(self) -> bool:
        """Return whether a task waits."""
        return self._future is not None

    async def wait(self) -> None:
        """Wait until woken."""
        self._future = asyncio.get_running_loop().create_future()
        try:
            await self._future
        finally:
            self._future = None

    def wake(self) -> None:
        """Wake the waiting task, if there is one."""
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class Changes:
    """A place where any number of tasks wait for the next change of a session, and then check what they wait for again."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def note(self) -> None:
        """Wake all that wait."""
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def next(self) -> None:
        """Wait for the next change."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)


class Inbox:
    """Bytes that have arrived; `give_back(size)` is called with the credit of what is read or dropped."""

    def __init__(self, give_back: Callable[[int], None]) -> None:
        self._give_back = give_back
        self._chunks: deque[bytes] = deque()
        self.credit = 0  # flow-controlled bytes that have arrived and have not been returned

    def __bool__(self) -> bool:
        return bool(self._chunks)

    @property
    def portion(self) -> int:
        """How many bytes came first, in one piece."""
        return len(self._chunks[0])

    def put(self, data: bytes, credit: int) -> None:
        """Take what has arrived; its credit may be more than its size, for padding."""
        self.credit += credit
        if data:
            self._chunks.append(data)

    def take_all(self) -> bytes:
        """Return everything."""
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self.clear()
        return data

    def take(self, size: int) -> bytes:
        """Return up to so many bytes of the first piece."""
        chunk = self._chunks.popleft()
        if len(chunk) > size:
            self._chunks.appendleft(chunk[size:])
        self._return(min(size, len(chunk)))
        return chunk[:size]

    def clear(self) -> None:
        """Drop everything."""
        self._chunks.clear()
        self._return(self.credit)

    def _return(self, size: int) -> None:
        if size:
            self.credit -= size
            self._give_back(size)
