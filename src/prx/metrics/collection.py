"""The events of one prx, counted: a fold that costs a few dictionary look-ups an event.

Counters begin with 0 at each start of prx, as Prometheus expects; they outlive a reload, and a tunnel that is removed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from prx.core import events
from prx.core.events import Event
from prx.core.restart_causes import RestartCauses
from prx.metrics.table import BUCKETS

OWN_SOURCES: Final = frozenset({"prx", "service"})
"""The sources of log lines that are not a connector's."""


@dataclass(slots=True)
class Histogram:
    """Durations in seconds, counted in `BUCKETS` and one more for what is beyond the last."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration; a bound belongs to the bucket that it closes."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


@dataclass(slots=True)
class TunnelCounts:
    """What has been counted of one tunnel."""

    restarts: Counter[str] = field(default_factory=Counter)
    probes: Histogram = field(default_factory=Histogram)
    probe_failures: int = 0
    url_changes: int = 0
    log_lines: Counter[str] = field(default_factory=Counter)
    _causes: RestartCauses = field(default_factory=RestartCauses)

    def take(self, fact: events.Fact) -> None:
        """Take in a fact about this tunnel."""
        match fact:
            case events.Probed(status=None):
                self.probe_failures += 1
            case events.Probed(latency_ms=float() | int() as latency):
                self.probes.add(latency / 1000)
            case events.Log(source=source, level=level) if source not in OWN_SOURCES:
                self.log_lines[level] += 1
            case events.UrlChanged(old=old) if old:
                self.url_changes += 1
            case _:
                self._take_life(fact)

    def _take_life(self, fact: events.Fact) -> None:
        match fact:
            case events.VerdictChanged(new=new):
                self._causes.verdict(str(new))
            case events.RestartScheduled(connector=connector, verdict=verdict):
                self._causes.scheduled(connector, verdict)
            case events.RestartCancelled(connector=connector):
                self._causes.cancelled(connector)
            case events.ChildStarted(connector=connector, restart=restart):
                if cause := self._causes.started(connector, restart):
                    self.restarts[cause] += 1


class Collector:
    """Counts for every tunnel: `see` takes each event."""

    def __init__(self) -> None:
        self.tunnels: dict[str, TunnelCounts] = {}

    def see(self, event: Event) -> None:
        """Take in an event; those of prx itself are not counted."""
        name = event.fact.tunnel
        if name:
            counts = self.tunnels.get(name)
            if counts is None:
                counts = self.tunnels[name] = TunnelCounts()
            counts.take(event.fact)
