"""What one task waits for and another causes, small enough to be had by the hundred.

`asyncio.Event` and `asyncio.Queue` keep a deque for all that wait, 0.75 KiB even if it is empty, and a tunnel has several that
nothing waits for. These keep a list, and can do what the tunnels of a prx need. For one event loop.
"""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Flag:
    """As `asyncio.Event`."""

    __slots__ = ("_is_set", "_waiting")

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: list[asyncio.Future[None]] = []

    def is_set(self) -> bool:
        """Return whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Set it, and wake all that wait."""
        self._is_set = True
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    def clear(self) -> None:
        """Take it back; those that were woken go on."""
        self._is_set = False

    async def wait(self) -> None:
        """Return once it is set."""
        if self._is_set:
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        finally:
            self._waiting.remove(future)


class Inbox(Generic[_T]):
    """As an `asyncio.Queue` without a limit, which one task reads."""

    __slots__ = ("_came", "_items")

    def __init__(self) -> None:
        self._items: list[_T] = []
        self._came = Flag()

    @property
    def is_empty(self) -> bool:
        """Return whether nothing waits to be read."""
        return not self._items

    def put(self, item: _T) -> None:
        """Add an item; never waits."""
        self._items.append(item)
        self._came.set()

    async def get(self) -> _T:
        """Return the oldest item, once there is one."""
        while not self._items:
            self._came.clear()
            await self._came.wait()
        return self._items.pop(0)
