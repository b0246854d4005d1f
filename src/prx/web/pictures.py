"""The bar of causes and the chart of latencies, as numbers that the templates draw as SVG. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from prx.core.conditions import CONDITIONS
from prx.core.verdicts import Verdict
from prx.history.rollup import WINDOW_SECONDS
from prx.history.spans import UNWATCHED, Span
from prx.ui.text import seconds
from prx.web.past import Latency

WIDTH: Final = 1000.0
_LEAST: Final = 3.0  # of the width: a short outage can still be seen, and pointed at
_MOST_SEGMENTS: Final = 300

KINDS: Final = {
    "": "up",
    "stopped": "stopped",
    "unwatched": "unwatched",
    Verdict.STARTING: "starting",
    Verdict.DNS_PENDING: "starting",
    Verdict.ORIGIN_DOWN: "service",
    Verdict.ORIGIN_ERROR: "service",
    Verdict.OFFLINE: "network",
    Verdict.UDP_BLOCKED: "network",
    Verdict.EDGE_LOST: "edge",
    Verdict.UNREACHABLE: "edge",
}
"""How a cause is coloured; every other one is `tunnel`: the connector, its token, its settings."""

KIND_WORDS: Final = {
    "up": "reachable",
    "service": "the local service",
    "edge": "Cloudflare's edge",
    "network": "the network",
    "tunnel": "the tunnel itself",
    "starting": "coming up",
    "stopped": "stopped as asked",
    "unwatched": "not watched",
}


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the bar: where (of `WIDTH`), its kind, and its times in seconds since 1970."""

    x: float
    width: float
    kind: str
    begin: float
    end: float
    cause: str
    reason: str

    @property
    def words(self) -> str:
        """Return what it was put down to, in words."""
        if self.kind in {"up", "stopped", "unwatched"}:
            return KIND_WORDS[self.kind]
        title = CONDITIONS[Verdict(self.cause)].title if self.cause in tuple(Verdict) else self.cause
        return f"{self.cause}: {self.reason or title}"

    @property
    def lasted(self) -> str:
        """Return how long it was, in words."""
        return seconds(self.end - self.begin)


def bar(spans: Iterable[Span], since: float, until: float) -> list[Segment]:
    """Return the segments from `since` to `until`, without gaps: what no span covers was not watched."""
    found: list[Segment] = []
    at = since
    for span in sorted(spans, key=lambda item: item.begin):
        begin, end = max(span.begin, at), min(span.end, until)
        if end <= begin:
            continue
        if begin > at:
            found.append(_segment(at, begin, None, (since, until)))
        found.append(_segment(begin, end, span, (since, until)))
        at = end
    if at < until:
        found.append(_segment(at, until, None, (since, until)))
    return _thinned([_widened(item) for item in found])


def _segment(begin: float, end: float, span: Span | None, whole: tuple[float, float]) -> Segment:
    scale = WIDTH / (whole[1] - whole[0])
    cause, reason = (span.cause, span.reason) if span else (UNWATCHED, "")
    return Segment((begin - whole[0]) * scale, (end - begin) * scale, KINDS.get(cause, "tunnel"), begin, end, cause, reason)


def _widened(item: Segment) -> Segment:
    """Return a segment that can be seen, unless it is one that says nothing."""
    if item.kind in {"up", "unwatched"} or item.width >= _LEAST:
        return item
    x = min(item.x, WIDTH - _LEAST)
    return Segment(x, _LEAST, item.kind, item.begin, item.end, item.cause, item.reason)


def _thinned(found: list[Segment]) -> list[Segment]:
    """Leave out the shortest if there are too many to draw."""
    if len(found) <= _MOST_SEGMENTS:
        return found
    kept = sorted(found, key=lambda item: item.begin - item.end)[:_MOST_SEGMENTS]
    return sorted(kept, key=lambda item: item.begin)


@dataclass(frozen=True, slots=True)
class Chart:
    """The latencies over time: lines (SVG points) of median and 95th percentile, failed windows, marks of the axis.

    height: of the picture, whose width is `WIDTH`. step: the width of a window. top: milliseconds at its upper
    edge. marks: (y, label).
    """

    height: float
    top: float
    medians: tuple[str, ...]
    slow: tuple[str, ...]
    failed: tuple[float, ...]
    step: float
    marks: tuple[tuple[float, str], ...]
    words: str


def chart(windows: Sequence[Latency], since: float, until: float, *, height: float = 160.0) -> Chart | None:
    """Return the chart of `windows`, oldest first; None if nothing was probed."""
    if not windows:
        return None
    top = _round_up(max((item.p95 or item.p50 or 0.0 for item in windows), default=0.0))
    scale = WIDTH / (until - since)

    def place(item: Latency, value: float) -> str:
        return f"{max(0.0, (item.at - since) * scale):.1f},{height - height * value / top:.1f}"

    parts = _unbroken(windows)
    medians = tuple(" ".join(place(item, item.p50) for item in part if item.p50 is not None) for part in parts)
    slow = tuple(" ".join(place(item, item.p95) for item in part if item.p95 is not None) for part in parts)
    failed = tuple(round(max(0.0, (item.at - since) * scale), 1) for item in windows if item.failed)
    marks = tuple((round(height - height * part, 1), f"{_short(top * part)} ms") for part in (0.5, 1.0))
    step = round(WINDOW_SECONDS * scale, 2)
    return Chart(height, top, medians, slow, failed, step, marks, _chart_words(windows))


def _unbroken(windows: Sequence[Latency]) -> list[list[Latency]]:
    """Split the windows wherever nothing was measured for a while: no line is drawn over what is not known."""
    measured = [item for item in windows if item.p50 is not None]
    parts: list[list[Latency]] = [measured[:1]] if measured else []
    for before, after in pairwise(measured):
        if after.at - before.at > 3 * WINDOW_SECONDS:
            parts.append([])
        parts[-1].append(after)
    return parts


def _chart_words(windows: Sequence[Latency]) -> str:
    measured = [item for item in windows if item.p50 is not None]
    failed = sum(item.failed for item in windows)
    checks = sum(item.count for item in windows)
    words = f"{checks} checks of the public URL, {failed} of them failed"
    if not measured:
        return words
    medians = sorted(item.p50 for item in measured if item.p50 is not None)
    slowest = max(item.p95 or 0.0 for item in measured)
    return f"Typically {_short(medians[len(medians) // 2])} ms, at most about {_short(slowest)} ms; {words}"


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 5, 10, 20 … milliseconds."""
    value = max(value, 1.0)
    power: float = 10.0 ** math.floor(math.log10(value))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= value))


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}".removesuffix(".0")
