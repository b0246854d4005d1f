"""What waits for one receiver of news: in order, bounded, and what is newest of its kind is never lost.

There are two kinds: trouble and its end, and what becomes of the URL. The newest of each says how things are now, so that a
receiver that was away for long learns it, whatever else had to go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from prx.runtime.alarm import Alarm

if TYPE_CHECKING:
    from prx.core.incidents import Notice

LINE: Final = 32
"""How many notices wait for a receiver at most."""

SUPERSEDED_SECONDS: Final = 3600.0
"""For how long a notice is tried that has a newer one of its kind behind it: it must not hold that up for a day."""


class Line:
    """The notices for one receiver.

    missed: how many were dropped that it does not know of. overflowed: some were, as they were too many, since the last
    delivery. in_hand: the one that is being delivered. woken: it is to be tried again now.
    """

    def __init__(self) -> None:
        self.woken = Alarm()
        self.missed = 0
        self.overflowed = False
        self.in_hand: Notice | None = None
        self._waiting: deque[Notice] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting(self) -> tuple[Notice, ...]:
        """What waits behind the one that is `in_hand`."""
        return tuple(self._waiting)

    def add(self, notices: Iterable[Notice]) -> int:
        """Append notices; return how many had to be dropped for that."""
        self._waiting.extend(notices)
        dropped = max(0, len(self._waiting) - LINE)
        for _ in range(dropped):
            del self._waiting[self._oldest_superseded()]
        self.missed += dropped
        self.overflowed = self.overflowed or dropped > 0
        self.woken.set()
        return dropped

    def take(self) -> Notice:
        """Take the first one in hand."""
        self.in_hand = self._waiting.popleft()
        return self.in_hand

    def clear(self) -> None:
        """Forget all that waits: there is no such receiver any more."""
        self._waiting.clear()

    def supersedes(self, notice: Notice, seconds: float) -> bool:
        """Return whether a newer one of its kind is to come in the place of one that has been kept for so many seconds."""
        return seconds >= SUPERSEDED_SECONDS and any(_kind(item) == _kind(notice) for item in self._waiting)

    def _oldest_superseded(self) -> int:
        """Return the place of the oldest notice that has a newer one of its kind behind it; there is one among three."""
        kinds = [_kind(item) for item in self._waiting]
        return next(place for place, kind in enumerate(kinds) if kind in kinds[place + 1 :])


def _kind(notice: Notice) -> bool:
    """Return whether a notice is about the URL; the others are about trouble and its end."""
    return notice.event.startswith("url_")
