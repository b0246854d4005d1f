"""Space out attempts: a random wait below a bound that doubles, capped, and forgotten after success has lasted.

Two of these work together: each connection has one with a base of 1 s, and all lost connections share one with a base of
10 s. The bound of the n-th wait in a row is base × 2^n with n at most `retries`; it never gives up. Observed with
cloudflared 2026.8.2, including its oddity that the bound announced after a success is 1 s while the wait may be 2 s.
"""

from __future__ import annotations

from collections.abc import Callable


class Backoff:
    """The attempts in a row and the waits between them; `now` and `random` make time and chance arguments.

    `now` returns seconds of a clock that only goes forward; `random` returns numbers from 0 to 1. Every result is seconds.
    """

    def __init__(self, retries: int, base: float, *, now: Callable[[], float], random: Callable[[], float]) -> None:
        self._retries = retries
        self._base = base
        self._now = now
        self._random = random
        self._reset_at: float | None = None
        self.attempts = 0

    @property
    def exhausted(self) -> bool:
        """Return whether the bound grows no further."""
        return self.attempts == self._retries

    def announced(self) -> float:
        """Return the bound that the log announces for the next wait."""
        if self._reset_due():
            return self._base
        return self._base * (1 << self.attempts + 1)

    def next_wait(self) -> float:
        """Count one more attempt and return how long to wait before it."""
        if self._reset_due():
            self.attempts = 0
            self._reset_at = None
        self.attempts = min(self.attempts + 1, self._retries)
        return self._base * (1 << self.attempts) * self._random()

    def succeeded(self) -> None:
        """Forget the attempts at once."""
        self.attempts = 0
        self._reset_at = self._now()

    def forget_later(self) -> None:
        """Forget the attempts if success lasts for a random while, which is longer the more attempts there were."""
        self._reset_at = self._now() + self._base * (1 << self.attempts + 2) * self._random()

    def _reset_due(self) -> bool:
        return self._reset_at is not None and self._now() >= self._reset_at
