"""What the connectors of a tunnel count themselves, as one number that only grows.

Each connector begins with 0, and a tunnel may have several, which end, are replaced and cannot be asked at times. Their plain
sum would fall then; Prometheus takes a counter that falls for one that began again, and counts all that is left a second time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class ConnectorCounts:
    """What connectors count, as totals; `said` maps an HTTP status to its number. in_flight: requests under way."""

    requests: int = 0
    request_errors: int = 0
    in_flight: int = 0
    registered: int = 0
    rejected: int = 0
    said: Mapping[int, int] = field(default_factory=dict)


class ConnectorTotals:
    """The connectors of one tunnel: `see` takes what each of them counts."""

    def __init__(self) -> None:
        self._last: dict[int, ConnectorCounts] = {}  # of those that run

    def see(self, past: ConnectorCounts, running: Mapping[int, ConnectorCounts | None]) -> ConnectorCounts | None:
        """Return what all connectors together have counted; None if none of those that run can be asked.

        past: those that have ended. running: by pid; one that cannot be asked (None) has what it had when it was seen last.
        """
        known = {pid: self._last.get(pid) if counts is None else counts for pid, counts in running.items()}
        self._last = {pid: counts for pid, counts in known.items() if counts is not None}
        asked = [counts for counts in running.values() if counts is not None]
        if not asked:
            return None
        under_way = sum(counts.in_flight for counts in asked)
        return replace(_added((past, *self._last.values())), in_flight=under_way)


def _added(counts: Iterable[ConnectorCounts]) -> ConnectorCounts:
    """Return the sum."""
    every = list(counts)
    return ConnectorCounts(
        requests=sum(one.requests for one in every),
        request_errors=sum(one.request_errors for one in every),
        in_flight=sum(one.in_flight for one in every),
        registered=sum(one.registered for one in every),
        rejected=sum(one.rejected for one in every),
        said=sum((Counter(one.said) for one in every), Counter()),
    )
