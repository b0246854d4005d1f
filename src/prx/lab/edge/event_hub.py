"""The way of a lab's events: to the listener of its configuration, and to all that wait for a condition."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prx.lab.events import LabEvent, Listener


class EventHub:
    """Passes events on; `clock` returns the seconds that they carry."""

    def __init__(self, clock: Callable[[], float], listener: Listener | None) -> None:
        self.now = clock
        self._listener = listener
        self._waiters: set[asyncio.Future[None]] = set()

    def emit(self, event: LabEvent) -> None:
        """Pass an event on, synchronously."""
        if self._listener is not None:
            self._listener(event)
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; it is checked now and after every event."""
        while not condition():
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)
