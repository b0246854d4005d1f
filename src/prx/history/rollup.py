"""Probes, and requests of visitors, of five minutes as one record for each tunnel."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from prx.core.events import Probed, Traffic
from prx.history.latency import bucket, percentile
from prx.history.records import Record
from prx.history.standing import is_reachable

WINDOW_SECONDS: Final = 300.0


@dataclass(slots=True)
class _Window:
    begin: float
    count: int = 0
    failed: int = 0
    buckets: Counter[int] = field(default_factory=Counter)


@dataclass(slots=True)
class _TrafficWindow:
    begin: float
    requests: int = 0
    errors: int = 0


class Rollup:
    """Adds up probes; `add` and `due` return the records that are complete.

    Times are wall-clock seconds. A window begins with its first probe and ends with the first probe, or the first call of
    `due`, `WINDOW_SECONDS` later.
    """

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}
        self._traffic: dict[str, _TrafficWindow] = {}

    def add(self, at: float, fact: Probed) -> list[Record]:
        """Count one probe; a clock that was set back begins another window."""
        window = self._windows.get(fact.tunnel)
        done = []
        if window is not None and not 0 <= at - window.begin < WINDOW_SECONDS:
            done.append(_record(fact.tunnel, self._windows.pop(fact.tunnel), at))
            window = None
        if window is None:
            window = self._windows[fact.tunnel] = _Window(at)
        window.count += 1
        window.failed += not is_reachable(fact.verdict)
        if fact.latency_ms is not None:
            window.buckets[bucket(fact.latency_ms)] += 1
        return done

    def add_traffic(self, at: float, fact: Traffic) -> list[Record]:
        """Count what visitors asked for; what came before the window was over belongs to it."""
        done = self._traffic_over(at, fact.tunnel)
        if fact.new_requests or fact.new_errors:
            window = self._traffic.setdefault(fact.tunnel, _TrafficWindow(at))
            window.requests += fact.new_requests
            window.errors += fact.new_errors
        return done

    def _traffic_over(self, at: float, name: str, *, everything: bool = False) -> list[Record]:
        window = self._traffic.get(name)
        if window is None or (not everything and 0 <= at - window.begin < WINDOW_SECONDS):
            return []
        del self._traffic[name]
        return [
            {
                "at": round(window.begin, 3),
                "event": "traffic",
                "tunnel": name,
                "secs": round(min(WINDOW_SECONDS, max(0.0, at - window.begin)), 3),
                "requests": window.requests,
                "errors": window.errors,
            }
        ]

    def due(self, at: float, *, everything: bool = False) -> list[Record]:
        """Return the records of the windows that are over at `at`, or of all."""
        over = [name for name, window in self._windows.items() if everything or not 0 <= at - window.begin < WINDOW_SECONDS]
        probes = [_record(name, self._windows.pop(name), at) for name in over]
        return probes + [
            record for name in list(self._traffic) for record in self._traffic_over(at, name, everything=everything)
        ]


def _record(tunnel: str, window: _Window, until: float) -> Record:
    """Return the record of a window; its `at` is the window's beginning."""
    return {
        "at": round(window.begin, 3),
        "event": "probes",
        "tunnel": tunnel,
        "secs": round(min(WINDOW_SECONDS, max(0.0, until - window.begin)), 3),
        "count": window.count,
        "failed": window.failed,
        "p50_ms": percentile(window.buckets, 50),
        "p95_ms": percentile(window.buckets, 95),
        "p99_ms": percentile(window.buckets, 99),
        "buckets": {str(number): count for number, count in sorted(window.buckets.items())},
    }
