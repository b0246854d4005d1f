"""From records to spans of time: in which standing each tunnel was, from when to when, and when nothing is known.

A standing is in force from its record to the next one. It is known only as long as there are signs of life: between two records
that are further apart than `SILENCE_SECONDS` (prx was killed, frozen, or the machine slept) and after the last one, the time is
not watched. That is neither reachable nor lost.

The wall clock may be set meanwhile, by hours on a machine whose hardware clock keeps local time. What was in force before a
step ends at the old clock's time and goes on at the new one's, so that every duration is a true one, and the spans of an hour
that came twice overlap. A step is a record (`clock_set`); without one, a time before the last one shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from prx.core.verdicts import Verdict
from prx.history.records import CLOCK_SET, Record
from prx.history.standing import STOPPED_CAUSE, STOPPING_CAUSE, Standing

SILENCE_SECONDS: Final = 150.0
"""Two signs of life and a half: what is silent for longer was not watching."""

UNORDERED_SECONDS: Final = 5.0
"""By so much the time of a record may lie before that of the one above it without meaning that the clock was set back."""

UNWATCHED: Final = "unwatched"

WINDOWS: Final = frozenset({"probes", "traffic"})
"""Records of a window of time: their time is its beginning, which is no sign of life."""


@dataclass(frozen=True, slots=True)
class Span:
    """A tunnel's time from `begin` to `end` (seconds since 1970) put down to one cause; "" is reachable.

    goes_on: it is the rest of the span before it, on the other side of a step of the clock.
    """

    tunnel: str
    begin: float
    end: float
    cause: str
    reason: str = ""
    goes_on: bool = False

    @property
    def secs(self) -> float:
        """How long it is."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Break:
    """Time does not simply go on: what was in force lasted until `until`. step: the clock was set, and no time is missing."""

    until: float
    step: bool = False


def break_before(record: Record, last: float) -> Break | None:
    """Return the break in time between `last`, the time of the record above, and `record`, which is of no window."""
    at = record["at"]
    by = record.get("by")
    if record["event"] == CLOCK_SET and isinstance(by, int | float):
        before = at - by
        # elsewhere than where the step was taken, if the step led into another day's file
        return Break(before, step=True) if 0 <= before - last <= SILENCE_SECONDS else Break(last)
    silent, back = at - last > SILENCE_SECONDS, at < last - UNORDERED_SECONDS
    return Break(last) if silent or back else None


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
        """Take one record."""
        event = record["event"]
        if event in WINDOWS:
            return
        at = record["at"]
        if event == "prx_started":
            yield from self._close(self._last)  # the one before may have ended without a word
        elif self._running and (found := break_before(record, self._last)):
            yield from self._reopen(found, at)
        elif self._running:
            at = max(at, self._last)
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
        if span is not None and span.cause == STOPPING_CAUSE:
            span = self._open[tunnel] = replace(span, cause=_purpose(after), reason=after.why)
        if span is not None and span.cause == after.cause:
            return
        if span is not None and span.cause == "":
            at = max(span.begin, at - _lasted(record))  # visitors met it before it was published
        if span is not None and at > span.begin:
            yield _until(span, at)
        self._open[tunnel] = Span(tunnel, at, at, after.cause, after.why)

    def _reopen(self, found: Break, at: float) -> Iterator[Span]:
        """End every span where time breaks off, and begin it again at `at`."""
        for tunnel, span in self._open.items():
            if ended := found.until > span.begin:
                yield _until(span, found.until)
            goes_on = found.step and (ended or span.goes_on)
            self._open[tunnel] = Span(tunnel, at, at, span.cause, span.reason, goes_on)

    def _close(self, at: float) -> Iterator[Span]:
        for span in self._open.values():
            if at > span.begin:
                yield _until(span, at)
        self._open = {}


def _lasted(record: Record) -> float:
    """Return for how many seconds what a record says had been true before; 0 if it does not say, or what cannot be."""
    lasted = record.get("lasted")
    if isinstance(lasted, bool) or not isinstance(lasted, int | float):
        return 0.0
    return lasted if 0 < lasted <= SILENCE_SECONDS else 0.0


def _purpose(after: Standing) -> str:
    """Return what the time of a connector's end is put down to, by what came after it: a stop, or a restart."""
    return after.cause if after.cause in {STOPPED_CAUSE, STOPPING_CAUSE} else Verdict.STARTING.value


def _until(span: Span, end: float) -> Span:
    cause = STOPPED_CAUSE if span.cause == STOPPING_CAUSE else span.cause  # what it was for is not known yet
    return replace(span, end=end, cause=cause)


def clipped(found: Iterable[Span], since: float, until: float) -> Iterator[Span]:
    """Yield the parts of the spans that lie between two times."""
    for span in found:
        begin, end = max(span.begin, since), min(span.end, until)
        if end > begin:
            yield replace(span, begin=begin, end=end)


def covered(found: Iterable[Span]) -> float:
    """Return how many seconds by the clock some span covers; an hour that came twice counts once."""
    total, reached = 0.0, 0.0
    for span in sorted(found, key=lambda item: item.begin):
        total += max(0.0, span.end - max(span.begin, reached))
        reached = max(reached, span.end)
    return total
