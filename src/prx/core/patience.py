"""How long a fault is watched before it is acted on, and before it is shown: two different patiences.

Times are monotonic seconds and come in as arguments.
"""

from __future__ import annotations

from prx.core.conditions import CONDITIONS
from prx.core.verdicts import Verdict


class Failures:
    """Count failures at most once an interval, whatever the pace of looking."""

    def __init__(self) -> None:
        self.count = 0
        self._counted_at: float | None = None

    def add(self, now: float, interval: float) -> bool:
        """Take a failure in; tell whether it counted. `interval` is in seconds."""
        if self._counted_at is not None and now - self._counted_at < interval:
            return False
        self._counted_at = now
        self.count += 1
        return True

    def forget(self) -> None:
        """Begin anew."""
        self.count = 0
        self._counted_at = None


class Suspicion:
    """Keep a bad verdict about a ready tunnel to ourselves until it has lasted for its `visible_after`."""

    def __init__(self) -> None:
        self._verdict: Verdict | None = None
        self._since = 0.0

    def __bool__(self) -> bool:
        return self._verdict is not None

    def lasts(self, now: float, verdict: Verdict) -> bool:
        """Tell whether something has been wrong for so long that `verdict` is to be shown now.

        One bad verdict after another is one trouble: the time counts from the first of them.
        """
        if self._verdict is None:
            self._since = now
        self._verdict = verdict
        if now - self._since < CONDITIONS[verdict].visible_after:
            return False
        self.forget()
        return True

    def forget(self) -> None:
        """Suspect nothing."""
        self._verdict = None
