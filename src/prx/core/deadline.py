"""A time limit that several steps share."""

from __future__ import annotations

from collections.abc import Callable


class Deadline:
    """The moment `seconds` from now on `clock` (monotonic seconds); `at` is its time."""

    def __init__(self, clock: Callable[[], float], seconds: float) -> None:
        self._clock = clock
        self.at = clock() + seconds

    @property
    def left(self) -> float:
        """The seconds that are left; 0 once it is over."""
        return max(0.0, self.at - self._clock())

    @property
    def is_over(self) -> bool:
        """Return whether the moment has come."""
        return self._clock() >= self.at
