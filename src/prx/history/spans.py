"""From records to spans of time: in which standing each tunnel was, from when to when, and when nothing is known.

A standing is in force from its record to the next one. It is known only as long as there are signs of life: between two records
that are further apart than `SILENCE_SECONDS` (prx was killed, frozen, or the machine slept) and after the last one, the time is
not watched. That is neither reachable nor lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from prx.history.records import Record
from prx.history.standing import Standing

SILENCE_SECONDS: Final = 150.0
"""Two signs of life and a half: what is silent for longer was not watching."""

UNWATCHED: Final = "unwatched"

WINDOWS: Final = frozenset({"probes", "traffic"})
"""Records of a window of time: their time is its beginning, which is no sign of life."""


@dataclass(frozen=True, slots=True)
class Span:
    """A tunnel's time from `begin` to `end` (seconds since 1970) put down to one cause; "" is reachable."""

    tunnel: str
    begin: float
    end: float
    cause: str
    reason: str = ""

    @property
    def secs(self) -> float:
        """How long it is."""
        return self.end - self.begin


def spans(records: Iterable[Record], *, now: float | None = None) -> Iterator[Span]:
    """Yield the spans of all tunnels in one life of the history, each tunnel's in order; neighbours differ in their cause.

    `now`: prx is still running, so that its last standing holds until then, unless it has been silent for too long.
    """
    fold = _Fold()
    for record in records:
        yield from fold.take(record)
    yield from fold.end(now)


class _Fold:
    def __init__(self) -> None:
        self._standings: dict[str, Standing] = {}
        self._open: dict[str, Span] = {}
        self._last = 0.0
        self._running = False

    def take(self, record: Record) -> Iterator[Span]:
        """Take one record; its time is never before the last one's (a clock that was set back)."""
        event = record["event"]
        at = record["at"] if event not in WINDOWS else self._last
        if not self._running and event != "prx_started":
            self._last = at  # the first record of a later file: what was before is not here
        at = max(at, self._last)
        if self._running and event == "prx_started":  # the one before ended without a word
            yield from self._close(self._last)
        elif self._running and at - self._last > SILENCE_SECONDS:
            yield from self._reopen(self._last, at)
        self._last, self._running = at, event != "prx_stopped"
        if event in {"prx_started", "prx_stopped"}:
            yield from self._close(at)
            self._standings = {}
        elif tunnel := record.get("tunnel"):
            yield from self._change(str(tunnel), record, at)

    def end(self, now: float | None) -> Iterator[Span]:
        """Yield what is still open."""
        alive = now is not None and self._running and now - self._last <= SILENCE_SECONDS
        yield from self._close(max(now, self._last) if alive and now is not None else self._last)

    def _change(self, tunnel: str, record: Record, at: float) -> Iterator[Span]:
        before = self._standings.get(tunnel)
        after = (before or Standing()).after(record)
        if before is after:
            return
        self._standings[tunnel] = after
        span = self._open.get(tunnel)
        if span is not None and span.cause == after.cause:
            return
        if span is not None and at > span.begin:
            yield _until(span, at)
        self._open[tunnel] = Span(tunnel, at, at, after.cause, after.reason)

    def _reopen(self, silent_since: float, at: float) -> Iterator[Span]:
        """End every span at the last sign of life, and begin it again."""
        for tunnel, span in self._open.items():
            if silent_since > span.begin:
                yield _until(span, silent_since)
            self._open[tunnel] = Span(tunnel, at, at, span.cause, span.reason)

    def _close(self, at: float) -> Iterator[Span]:
        for span in self._open.values():
            if at > span.begin:
                yield _until(span, at)
        self._open = {}


def _until(span: Span, end: float) -> Span:
    return Span(span.tunnel, span.begin, end, span.cause, span.reason)


def clipped(found: Iterable[Span], since: float, until: float) -> Iterator[Span]:
    """Yield the parts of the spans that lie between two times."""
    for span in found:
        begin, end = max(span.begin, since), min(span.end, until)
        if end > begin:
            yield Span(span.tunnel, begin, end, span.cause, span.reason)
