"""What visitors have asked all connectors of a tunnel for, by the connectors' own counters."""

from __future__ import annotations

from typing import Protocol

from prx.backends.base import Counters
from prx.core.traffic import Reading, TrafficMeter


class Asker(Protocol):
    """The health checks of one run of a connector: how many requests they made, and how many of those failed."""

    asked: int
    failed: int


class VisitorCount:
    """Adds up what the runs of a tunnel's connectors count, those that have ended included, without prx's own requests.

    The leading connector's checks ask the public URL, and whichever connector the edge chooses counts that. So prx's own
    requests are subtracted from the sum, as soon as they are made.
    """

    def __init__(self) -> None:
        self._meter = TrafficMeter()
        self._runs: dict[Asker, Counters] = {}
        self._requests = self._errors = 0  # of the runs that have ended

    def begin(self, checks: Asker) -> None:
        """Take in that a run has started."""
        self._runs[checks] = Counters()

    def see(self, now: float, checks: Asker, counters: Counters) -> Reading | None:
        """Take in what a run has counted; return what is to be published, if anything is."""
        self._runs[checks] = counters
        requests, errors = self._requests, self._errors
        for run, seen in self._runs.items():
            requests += seen.requests - run.asked
            errors += seen.failures - run.failed
        return self._meter.see(now, requests, errors)

    def end(self, checks: Asker) -> None:
        """Take in that a run has ended: what it has counted stays. Harmless when repeated."""
        counters = self._runs.pop(checks, None)
        if counters is None:
            return
        self._requests += counters.requests - checks.asked
        self._errors += counters.failures - checks.failed
        if not self._runs:
            self._meter.forget()
