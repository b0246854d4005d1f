"""The last events of all prx, numbered by this process, and the subscriptions of those who follow them.

A number means something only together with the life of this process that gave it, so an event's public id is `LIFE-NUMBER`.
A subscriber that is too slow loses events, gets their number, and never slows anything down.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

RING_EVENTS: Final = 2_000
RING_BYTES: Final = 4 * 1024 * 1024
WAITING_EVENTS: Final = 256
WAITING_BYTES: Final = 512 * 1024


@dataclass(frozen=True, slots=True)
class Item:
    """One event as it goes out: its number, and its JSON on one line."""

    number: int
    text: str


class Follower:
    """One subscription: what waits is bounded in number and bytes; `dropped` counts what it missed since it last took."""

    def __init__(self, forget: Callable[[Follower], None]) -> None:
        self._forget = forget
        self._waiting: deque[Item] = deque()
        self._bytes = 0
        self._wakeup = asyncio.Event()
        self.dropped = 0

    def put(self, item: Item) -> None:
        """Hand over an event; never waits."""
        if len(self._waiting) >= WAITING_EVENTS or self._bytes + len(item.text) > WAITING_BYTES:
            self.dropped += 1
        else:
            self._waiting.append(item)
            self._bytes += len(item.text)
        self._wakeup.set()

    async def take(self) -> tuple[int, list[Item]]:
        """Return how many events were missed before, and those that wait; wait until there is one of the two."""
        while not self._waiting and not self.dropped:
            self._wakeup.clear()
            await self._wakeup.wait()
        dropped, self.dropped = self.dropped, 0
        items = list(self._waiting)
        self._waiting.clear()
        self._bytes = 0
        return dropped, items

    def close(self) -> None:
        """End the subscription."""
        self._forget(self)


class Ring:
    """Keep the last events for those who come later or come back. `life` tells this process from the one before it."""

    def __init__(self, life: str) -> None:
        self.life = life
        self.number = 0
        self.dropped = 0  # of all followers together
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._followers: list[Follower] = []

    def publish(self, event: dict[str, Any]) -> None:
        """Assign an event its number, keep it, and hand it to every follower."""
        self.number += 1
        item = Item(self.number, json.dumps(event, separators=(",", ":")))
        self._items.append(item)
        self._bytes += len(item.text)
        while len(self._items) > RING_EVENTS or self._bytes > RING_BYTES:
            self._bytes -= len(self._items.popleft().text)
        for follower in self._followers:
            before = follower.dropped
            follower.put(item)
            self.dropped += follower.dropped - before

    def follow(self) -> Follower:
        """Return a subscription to what comes from now on."""
        follower = Follower(self._followers.remove)
        self._followers.append(follower)
        return follower

    def id_of(self, number: int) -> str:
        """Return the public id of an event."""
        return f"{self.life}-{number}"

    def since(self, public_id: str) -> tuple[int | None, list[Item]]:
        """Return what came after the event with `public_id`, and how many events between are no longer kept.

        None in place of the number: the id is of another life of this process, or no id; then everything kept is returned.
        """
        life, _, text = public_id.rpartition("-")
        if life != self.life or not text.isascii() or not text.isdigit() or len(text) > 15 or int(text) > self.number:
            return None, list(self._items)
        number = int(text)
        found = [item for item in self._items if item.number > number]
        first = found[0].number if found else self.number + 1
        return first - number - 1, found
