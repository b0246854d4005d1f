"""Which client has to go if too many are connected: pure, except for the tasks that it hands back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(eq=False, slots=True)
class Seat:
    """One connection: its task, the process at its other end (0: not known), and whether that may ask.

    `begun`: its conversation has started; `asked`: it has sent a request; `answering`: one is being answered; `evicted`: it
    has to make room; `holding`: it keeps prx running, and takes no place of those that ask.
    """

    task: asyncio.Task[Any]
    pid: int
    allowed: bool = True
    begun: bool = False
    asked: bool = False
    answering: bool = False
    evicted: bool = False
    holding: bool = False

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Count as one that is being answered while the block lasts."""
        self.asked = self.answering = True
        try:
            yield
        finally:
            self.answering = False


def choose_to_leave(seats: Collection[Seat]) -> Seat:
    """Return which one goes: one that rests, of the process that has most, the oldest. `seats` are in the order of arrival."""
    held = Counter(seat.pid for seat in seats)
    return min(seats, key=lambda seat: (seat.answering, -held[seat.pid]))
