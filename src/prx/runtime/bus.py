"""Where facts become events: numbered, stamped, folded into the status, and handed to whoever listens.

A listener that is too slow loses events and is told how many: it never slows the tunnel down.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self

from prx.core.events import Dropped, Event, Fact
from prx.core.status import TunnelStatus, fold
from prx.runtime.clock import Clock


class Subscription:
    """An asynchronous iterator over events; at most `limit` of them wait, later ones are dropped and counted."""

    def __init__(self, bus: Bus, limit: int) -> None:
        self._bus = bus
        self._limit = limit
        self._waiting: deque[Event] = deque()
        self._dropped = 0
        self._closed = False
        self._wakeup = asyncio.Event()

    def put(self, event: Event) -> None:
        """Hand over an event; never blocks."""
        if len(self._waiting) >= self._limit:
            self._dropped += 1
        else:
            self._waiting.append(event)
        self._wakeup.set()

    def close(self) -> None:
        """End the iteration once what waits has been taken; harmless when done twice."""
        self._closed = True
        self._bus.forget(self)
        self._wakeup.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._waiting:
            if self._dropped:
                count, self._dropped = self._dropped, 0
                return self._bus.stamp(Dropped(tunnel="", count=count))
            if self._closed:
                raise StopAsyncIteration
            self._wakeup.clear()
            await self._wakeup.wait()
        return self._waiting.popleft()


class Bus:
    """Publishes facts about tunnels to subscribers and keeps the status of each tunnel."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seq = 0
        self._subscriptions: list[Subscription] = []
        self._listeners: list[Callable[[Event], None]] = []
        self._statuses: dict[str, TunnelStatus] = {}

    def publish(self, fact: Fact) -> Event:
        """Give `fact` a number and a time, update the status, and hand the event to every subscriber."""
        self._seq += 1
        event = Event(self._seq, self._clock.wall(), fact)
        if fact.tunnel in self._statuses:
            self._statuses[fact.tunnel] = fold(self._statuses[fact.tunnel], event)
        for listener in self._listeners:
            listener(event)
        for subscription in self._subscriptions:
            subscription.put(event)
        return event

    def stamp(self, fact: Fact) -> Event:
        """Return `fact` as an event for one subscriber alone; it takes the number of the last event that all have seen."""
        return Event(self._seq, self._clock.wall(), fact)

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with every event, at once, on the loop: for what is quick and must not miss any."""
        self._listeners.append(listener)

    def subscribe(self, limit: int = 1024) -> Subscription:
        """Return an iterator over all events from now on."""
        subscription = Subscription(self, limit)
        self._subscriptions.append(subscription)
        return subscription

    def forget(self, subscription: Subscription) -> None:
        """Hand nothing more to `subscription`."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def close(self) -> None:
        """End every subscription."""
        for subscription in list(self._subscriptions):
            subscription.close()

    def track(self, status: TunnelStatus) -> None:
        """Begin to keep the status of a tunnel, from `status` on."""
        self._statuses[status.name] = status

    def statuses(self) -> tuple[TunnelStatus, ...]:
        """Return the present status of every tunnel, in the order in which they were tracked."""
        return tuple(self._statuses.values())
