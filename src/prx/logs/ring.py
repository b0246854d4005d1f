"""Keep the last lines in memory, for a status or a crash report."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Ring(Generic[T]):
    """Hold the last `capacity` items; `total` counts all that ever came, `dropped` those no longer here."""

    def __init__(self, capacity: int = 1000) -> None:
        self._items: deque[T] = deque(maxlen=capacity)
        self.total = 0

    def append(self, item: T) -> None:
        """Add an item; the oldest goes when there is no room."""
        self._items.append(item)
        self.total += 1

    @property
    def dropped(self) -> int:
        """Return how many items are gone."""
        return self.total - len(self._items)

    def last(self, count: int) -> list[T]:
        """Return up to `count` items, oldest first."""
        return list(self._items)[-count:] if count > 0 else []

    def __len__(self) -> int:
        return len(self._items)
