"""What the history says, for the page: read in a thread, and kept for a moment so that many readers cost one reading."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prx.history.latency import merged, percentile
from prx.history.reader import Life, read
from prx.history.report import Report, TunnelReport, report

KEEP_SECONDS: Final = 15.0
HOURS: Final = (1, 6, 24, 168)
MOST_KEPT: Final = len(HOURS) + 1  # readings; one of 90 days has many records


@dataclass(frozen=True, slots=True)
class Latency:
    """The probes of one window of time from `at` on: median and 95th percentile in milliseconds, how many, how many failed."""

    at: float
    p50: float | None
    p95: float | None
    count: int
    failed: int


@dataclass(frozen=True, slots=True)
class Past:
    """One reading of the history; empty if there is none."""

    report: Report
    lives: tuple[Life, ...]

    def of(self, key: str, tunnel: str) -> TunnelReport | None:
        """Return the report on one tunnel of the prx with `key`."""
        return next((item for item in self.report.tunnels if (item.key, item.tunnel) == (key, tunnel)), None)

    def latencies(self, key: str, tunnel: str) -> list[Latency]:
        """Return the windows of one tunnel's probes, oldest first."""
        records = [record for life in self.lives if life.key == key for record in life.records]
        mine = [item for item in records if item["event"] == "probes" and item.get("tunnel") == tunnel]
        return [_latency(item) for item in mine if self.report.since <= item["at"]]


def _latency(record: dict[str, object]) -> Latency:
    buckets: Counter[int] = Counter()
    merged(buckets, record.get("buckets"))
    at, count, failed = record["at"], record.get("count"), record.get("failed")
    assert isinstance(at, int | float)
    return Latency(
        at,
        percentile(buckets, 50),
        percentile(buckets, 95),
        count if isinstance(count, int) else 0,
        failed if isinstance(failed, int) else 0,
    )


class History:
    """Read the history in `folder`. `wall` returns seconds since 1970; `killed` the keys of those prx that were killed."""

    def __init__(self, folder: Path, wall: Callable[[], float], killed: Callable[[], Collection[str]] = frozenset) -> None:
        self._folder = folder
        self._killed = killed
        self._wall = wall
        self._kept: dict[float, Past] = {}
        self._reading = asyncio.Lock()

    async def last(self, seconds: float) -> Past:
        """Return what was in the last `seconds`; OSError if it cannot be read."""
        async with self._reading:
            now = self._wall()
            kept = self._kept.get(seconds)
            if kept is None or not 0 <= now - kept.report.until < KEEP_SECONDS:
                self._kept = {key: item for key, item in self._kept.items() if now - item.report.until < KEEP_SECONDS}
                while len(self._kept) >= MOST_KEPT:
                    del self._kept[next(iter(self._kept))]
                kept = self._kept[seconds] = await asyncio.to_thread(self._read, seconds, now)
            return kept

    def _read(self, seconds: float, now: float) -> Past:
        lives = tuple(read(self._folder, now - seconds))
        return Past(report(lives, now - seconds, now, killed=self._killed()), lives)


def only(found: Iterable[TunnelReport], tunnel: str | None, key: str | None) -> tuple[TunnelReport, ...]:
    """Return the reports on `tunnel` and of the prx with `key`; None stands for any."""
    return tuple(item for item in found if tunnel in {None, item.tunnel} and key in {None, item.key})
