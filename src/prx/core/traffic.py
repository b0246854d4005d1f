"""What visitors ask for, by the connector's own counters: requests, errors and rate of the last minutes. Pure."""

from __future__ import annotations

from typing import Final

from prx.core.numbers import counted
from prx.core.value import Value, value_class

WINDOW_SECONDS: Final = 300.0
"""How far back *the last minutes* reach."""

RATE_SECONDS: Final = 60.0
PUBLISH_EVERY: Final = 10.0
"""Seconds between two publications at least: each is an event, and wakes every reader of events."""


@value_class(frozen=True, slots=True, eq=False, repr=False)
class TrafficStatus(Value):
    """The requests and errors of the last `WINDOW_SECONDS`, and the requests of the last minute; prx's own are left out."""

    requests: int = 0
    errors: int = 0
    per_minute: int = 0

    def words(self) -> str:
        """Return "12 requests · 1 error"."""
        parts = [counted(self.requests, "request")]
        if self.errors:
            parts.append(counted(self.errors, "error"))
        return " · ".join(parts)


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Reading(Value):
    """What there is to publish: the last minutes, and what is new since the reading before."""

    status: TrafficStatus
    new_requests: int
    new_errors: int


_NONE: Final = TrafficStatus()


class TrafficMeter:
    """Folds totals that only grow into what has come of late. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._steps: list[tuple[float, int, int]] = []  # when, and how many came; one a second at most, for five minutes
        self._requests = self._errors = 0
        self._published: TrafficStatus | None = None
        self._due = 0.0
        self._new_requests = self._new_errors = 0

    def see(self, now: float, requests: int, errors: int) -> Reading | None:
        """Take in the totals of the run so far; return what is to be published, None if nothing is, or not yet."""
        came, failed = max(0, requests - self._requests), max(0, errors - self._errors)
        self._requests, self._errors = max(requests, self._requests), max(errors, self._errors)
        if came or failed:
            self._steps.append((now, came, failed))
            self._new_requests += came
            self._new_errors += failed
        while self._steps and now - self._steps[0][0] >= WINDOW_SECONDS:
            del self._steps[0]
        if self._published is not None and now < self._due:
            return None
        status = self._status(now)
        if not (self._new_requests or self._new_errors) and (status is self._published or status == self._published):
            return None
        reading = Reading(status, self._new_requests, self._new_errors)
        self._published, self._due, self._new_requests, self._new_errors = status, now + PUBLISH_EVERY, 0, 0
        return reading

    def forget(self) -> None:
        """Publish the next reading whatever it is: readers know meanwhile that nothing is known."""
        self._published = None

    def _status(self, now: float) -> TrafficStatus:
        if not self._steps:
            return _NONE
        return TrafficStatus(
            sum(step[1] for step in self._steps),
            sum(step[2] for step in self._steps),
            sum(step[1] for step in self._steps if now - step[0] < RATE_SECONDS),
        )
