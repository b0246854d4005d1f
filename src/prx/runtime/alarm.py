"""Something that may happen at any moment, and that ends what is being done."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class Alarm:
    """Is set and cleared like an `asyncio.Event`; work that is done `unless` it happens is abandoned as soon as it is set.

    Nothing waits for it: a task that does costs as much as half of a quiet health check.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._scopes: set[asyncio.Timeout] = set()

    def is_set(self) -> bool:
        """Return whether it has happened, and was not cleared since."""
        return self._is_set

    def set(self) -> None:
        """Take in that it happens."""
        self._is_set = True
        while self._scopes:
            self._scopes.pop().reschedule(asyncio.get_running_loop().time())

    def clear(self) -> None:
        """Take in that it is over."""
        self._is_set = False

    async def unless(self, work: Coroutine[Any, Any, _T]) -> _T | None:
        """Await `work` and return its result; abandon it, and return None, as soon as this is set, or if it is set already."""
        if self._is_set:
            work.close()
            return None
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._scopes.add(scope)
                return await work
        except TimeoutError:
            if not scope.expired():  # it comes from the work
                raise
            return None
        finally:
            self._scopes.discard(scope)
