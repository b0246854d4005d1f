"""How long a fault is watched before it is acted on, and before it is shown: two different patiences.

Times are monotonic seconds and come in as arguments.
"""

from __future__ import annotations

from dataclasses import replace

from prx.core.conditions import CONDITIONS
from prx.core.verdicts import Diagnosis


class FailureCounter:
    """Count failures at most once an interval, whatever the pace of looking, and know since when they last."""

    def __init__(self) -> None:
        self.count = 0
        self._began: float | None = None
        self._counted_at: float | None = None

    def add(self, now: float, interval: float) -> None:
        """Take a failure in. `interval` is in seconds."""
        if self._began is None:
            self._began = now
        if self._counted_at is None or now - self._counted_at >= interval:
            self._counted_at = now
            self.count += 1

    def lasted(self, now: float) -> float:
        """Return for how many seconds there have been failures without a break."""
        return 0.0 if self._began is None else now - self._began

    def forget(self) -> None:
        """Begin again."""
        self.count = 0
        self._began = self._counted_at = None


class FlapDamper:
    """Keep a bad verdict about a ready tunnel from the screen until it has lasted for its `visible_after`.

    `pending` is the verdict that is kept back; its `since` is that of the trouble, as is `since`.
    """

    def __init__(self) -> None:
        self.pending: Diagnosis | None = None
        self.since = 0.0

    def __bool__(self) -> bool:
        return self.pending is not None

    def ends_in(self, now: float, diagnosis: Diagnosis) -> float:
        """Take in a bad diagnosis; return for how many seconds it is still kept back (0 or less: it is to be shown now).

        One bad verdict after another is one trouble: the time counts from the first of them, and from when that was first seen.
        """
        seen = now if diagnosis.since is None else min(now, diagnosis.since)
        self.since = seen if self.pending is None else min(self.since, seen)
        self.pending = replace(diagnosis, since=self.since)
        return self.since + CONDITIONS[diagnosis.verdict].visible_after - now

    def forget(self) -> None:
        """Suspect nothing."""
        self.pending = None
