"""How many lines of a child are worth full attention: a flood is counted, not parsed."""

from __future__ import annotations

RATE = 2000.0  # lines a second; cloudflared at level debug writes about 30 for each request
BURST = 4000.0


class LineBudget:
    """A token bucket: `take` says whether this line is within `RATE` lines a second, after a burst of up to `BURST`.

    `skipped` counts those that were not, since `settle` was last called. Times are monotonic seconds.
    """

    def __init__(self, now: float) -> None:
        self.skipped = 0
        self._left = BURST
        self._at = now

    def take(self, now: float) -> bool:
        """Take in one line."""
        self._left = min(BURST, self._left + (now - self._at) * RATE)
        self._at = now
        if self._left < 1:
            self.skipped += 1
            return False
        self._left -= 1
        return True

    def settle(self) -> int:
        """Return how many lines were skipped since the last call."""
        skipped, self.skipped = self.skipped, 0
        return skipped
