"""What the history says of a span of time, for each tunnel: pure, from records to `TunnelReport`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from prx.core.events import timestamp
from prx.core.restart_causes import RestartCauses
from prx.history.latency import merged, percentile
from prx.history.reader import Life
from prx.history.records import Record
from prx.history.spans import SILENCE_SECONDS, WINDOWS, Span, break_before, clipped, covered, spans
from prx.history.standing import STOPPED_CAUSE, Standing

_CLOCKS_DIFFER = 60.0  # seconds that a clock may be set by without a word


@dataclass(slots=True)
class Loss:
    """The time lost by one cause: all of it, how many times, and the longest."""

    cause: str
    secs: float = 0.0
    count: int = 0
    longest: Span | None = None
    _last: Span | None = field(default=None, init=False, repr=False)

    def add(self, span: Span, *, goes_on: bool = False) -> None:
        """Count one span; goes_on: it is the rest of the one that was counted last."""
        self.secs += span.secs
        self.count += not goes_on
        self._last = replace(self._last, end=self._last.end + span.secs) if goes_on and self._last is not None else span
        if self.longest is None or self._last.secs > self.longest.secs:
            self.longest = self._last


@dataclass(slots=True)
class Restarts:
    """The restarts by one cause; `helped` counts those after which the tunnel was reachable before the next one."""

    cause: str
    count: int = 0
    helped: int = 0


@dataclass(slots=True)
class Link:
    """The connections to one location of the edge over one protocol: how many were made, and their time together."""

    location: str
    protocol: str
    count: int = 0
    secs: float = 0.0


@dataclass(slots=True)
class TunnelReport:
    """One tunnel between two times; seconds. `lost` and `restarts` are sorted, the greatest first.

    watched = reachable + lost. stopped: the operator wanted no tunnel. unwatched: no prx was running, or it was frozen.
    """

    key: str
    tunnel: str
    local_addr: str = ""
    watched: float = 0.0
    reachable: float = 0.0
    stopped: float = 0.0
    unwatched: float = 0.0
    lost: list[Loss] = field(default_factory=list)
    restarts: list[Restarts] = field(default_factory=list)
    urls: list[Record] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    probes: int = 0
    failed_probes: int = 0
    buckets: Counter[int] = field(default_factory=Counter)
    timeline: list[Span] = field(default_factory=list)

    @property
    def percent(self) -> float | None:
        """How much of the watched time the tunnel was reachable; None if it was never watched."""
        return 100 * self.reachable / self.watched if self.watched else None

    def to_json(self, *, timeline: bool = False) -> dict[str, Any]:
        """Return the public form; seconds to a millisecond, percent to a thousandth (rounded down: 100 means all)."""
        result: dict[str, Any] = {
            "tunnel": self.tunnel,
            "local_addr": self.local_addr,
            "reachable_percent": None if self.percent is None else int(self.percent * 1000) / 1000,
            "watched_secs": round(self.watched, 3),
            "reachable_secs": round(self.reachable, 3),
            "stopped_secs": round(self.stopped, 3),
            "unwatched_secs": round(self.unwatched, 3),
            "lost": [_loss_json(item) for item in self.lost],
            "restarts": [{"cause": item.cause, "count": item.count, "helped": item.helped} for item in self.restarts],
            "url_changes": [{"at": timestamp(item["at"]), "old": item["old"], "url": item["url"]} for item in self.urls],
            "probes": {
                "count": self.probes,
                "failed": self.failed_probes,
                **{f"p{percent}_ms": percentile(self.buckets, percent) for percent in (50, 95, 99)},
            },
            "connections": [
                {"location": item.location, "protocol": item.protocol, "count": item.count, "secs": round(item.secs, 3)}
                for item in self.links
            ],
        }
        if timeline:
            result["timeline"] = [
                {"from": timestamp(span.begin), "to": timestamp(span.end), "cause": span.cause, "reason": span.reason}
                for span in self.timeline
            ]
        return result


def _loss_json(loss: Loss) -> dict[str, Any]:
    assert loss.longest is not None
    longest = {"secs": round(loss.longest.secs, 3), "at": timestamp(loss.longest.begin), "reason": loss.longest.reason}
    return {"cause": loss.cause, "secs": round(loss.secs, 3), "count": loss.count, "longest": longest}


@dataclass(frozen=True, slots=True)
class Report:
    """All tunnels between two times (seconds since 1970).

    missing: records that could not be written, or are damaged. ahead: those of a time after `until`, as a clock that was set
    back leaves them; nothing is known of what they say.
    """

    since: float
    until: float
    tunnels: tuple[TunnelReport, ...]
    missing: int = 0
    ahead: int = 0

    def to_json(self, *, timeline: bool = False) -> dict[str, Any]:
        """Return the public form."""
        tunnels = [item.to_json(timeline=timeline) for item in self.tunnels]
        return {
            "since": timestamp(self.since),
            "until": timestamp(self.until),
            "missing_records": self.missing,
            "tunnels": tunnels,
        }


def report(lives: Sequence[Life], since: float, until: float, *, running: bool = True, killed: Collection[str] = ()) -> Report:
    """Return the report on the time from `since` to `until`.

    `running`: the last standing holds until `until` if there was a sign of life shortly before it. `killed`: the keys of prx
    that are known not to run.
    """
    tunnels: list[TunnelReport] = []
    missing = 0
    for life in lives:
        tunnels += _life(life, since, until, running=running and life.key not in killed)
        lost = sum(_count(item) for item in life.records if item["event"] == "lost" and since <= item["at"] < until)
        missing += life.damaged + lost
    tunnels.sort(key=lambda item: (item.tunnel, item.local_addr, item.key))
    ahead = sum(item["at"] > until + _CLOCKS_DIFFER for life in lives for item in life.records)
    return Report(since, until, tuple(tunnels), missing, ahead)


def _life(life: Life, since: float, until: float, *, running: bool) -> list[TunnelReport]:
    found: dict[str, TunnelReport] = {}
    for span in clipped(spans(life.records, now=until if running else None), since, until):
        _add_span(found.setdefault(span.tunnel, TunnelReport(life.key, span.tunnel)), span)
    for record in life.records:
        if record["event"] == "prx_started" and isinstance(record.get("tunnels"), dict):
            for name, local_addr in record["tunnels"].items():
                if name in found:
                    found[name].local_addr = str(local_addr)
        elif record["event"] == "snapshot" and record.get("local_addr") and record.get("tunnel") in found:
            found[record["tunnel"]].local_addr = str(record["local_addr"])
    for name, records in _by_tunnel(life.records, found).items():
        _finish(found[name], records, since, until, running=running)
    return list(found.values())


def _by_tunnel(records: Iterable[Record], names: Iterable[str]) -> dict[str, list[Record]]:
    """Return the records of each tunnel, with those of prx itself among them, in their order."""
    sorted_out: dict[str, list[Record]] = {name: [] for name in names}
    for record in records:
        name = record.get("tunnel")
        if name in sorted_out:
            sorted_out[name].append(record)
        elif "tunnel" not in record:
            for own in sorted_out.values():
                own.append(record)
    return sorted_out


def _add_span(tunnel: TunnelReport, span: Span) -> None:
    goes_on = span.goes_on and bool(tunnel.timeline) and tunnel.timeline[-1].cause == span.cause
    tunnel.timeline.append(span)
    if span.cause == STOPPED_CAUSE:
        tunnel.stopped += span.secs
        return
    tunnel.watched += span.secs
    if span.cause == "":
        tunnel.reachable += span.secs
        return
    loss = next((item for item in tunnel.lost if item.cause == span.cause), None)
    if loss is None:
        loss = Loss(span.cause)
        tunnel.lost.append(loss)
    loss.add(span, goes_on=goes_on)


def _finish(tunnel: TunnelReport, records: Sequence[Record], since: float, until: float, *, running: bool) -> None:
    tunnel.unwatched = max(0.0, until - since - covered(tunnel.timeline))
    tunnel.lost.sort(key=lambda item: -item.secs)
    tunnel.restarts = _restarts(records, since, until)
    tunnel.links = _links(records, since, until, running=running)
    for record in records:
        if not since <= record["at"] < until:
            continue
        if record["event"] == "url_changed" and record.get("old"):
            tunnel.urls.append({"at": record["at"], "old": str(record["old"]), "url": str(record.get("url", ""))})
        elif record["event"] == "probes":
            tunnel.probes += _count(record)
            tunnel.failed_probes += _count(record, "failed")
            merged(tunnel.buckets, record.get("buckets"))


def _restarts(records: Iterable[Record], since: float, until: float) -> list[Restarts]:
    """Count the restarts by cause: the verdict under which the child was replaced, or `asked`."""
    found: dict[str, Restarts] = {}
    standing, causes = Standing(), RestartCauses()
    waiting: Restarts | None = None  # the last restart, until it is known whether it helped
    for record in records:
        match record["event"]:
            case "prx_started":
                standing, causes, waiting = Standing(), RestartCauses(), None
            case "restart_scheduled":
                causes.scheduled(_count(record, "connector"), str(record.get("verdict", "")))
            case "restart_cancelled":
                causes.cancelled(_count(record, "connector"))
            case "child_started":
                cause = causes.started(_count(record, "connector"), record.get("restart"))
                if cause and since <= record["at"] < until:
                    waiting = found.setdefault(cause, Restarts(cause))
                    waiting.count += 1
        standing = standing.after(record)
        causes.verdict(standing.verdict)
        if waiting is not None and standing.cause == "" and _shows_the_outcome(record):
            waiting.helped += 1
            waiting = None
    return sorted(found.values(), key=lambda item: -item.count)


def _shows_the_outcome(record: Record) -> bool:
    """Return whether a record after a restart shows how the tunnel stands since; its verdict may never have changed."""
    return record["event"] in {"verdict_changed", "state_changed", "snapshot", "connection_registered", "alive"}


def _links(records: Iterable[Record], since: float, until: float, *, running: bool) -> list[Link]:
    """Add up the connections by location and protocol; those of a prx that runs hold until `until`, as its standing does."""
    fold = _Links(since, until)
    for record in records:
        fold.take(record)
    fold.close_all(until if running and until - fold.last <= SILENCE_SECONDS else fold.last)
    return sorted((link for link in fold.found.values() if link.count or link.secs), key=lambda item: -item.secs)


_Connection: TypeAlias = tuple[int, int]  # the child's pid, 0 if it is unknown, and the connection's number in the child


def _connection(record: Record) -> _Connection:
    return _count(record, "pid"), _count(record, "index")


class _Links:
    """The connections between two times; what is open when a child or prx ends, ends with it, and silence is not counted."""

    def __init__(self, since: float, until: float) -> None:
        self._since, self._until = since, until
        self.found: dict[tuple[str, str], Link] = {}
        self._open: dict[_Connection, tuple[Link, float]] = {}
        self.last = 0.0

    def take(self, record: Record) -> None:
        """Take one record."""
        if record["event"] in WINDOWS:
            return
        at = record["at"]
        if record["event"] == "prx_started":
            self.close_all(self.last)
        elif found := break_before(record, self.last):
            self._leave_out(found.until, at)
        match record["event"]:
            case "prx_stopped":
                self.close_all(at)
            case "child_exited":
                self._close_child(record, at)
            case "connection_lost":
                self._close(_connection(record), at)
            case "connection_registered" | "connection_open":
                self._close(_connection(record), at)
                self._register(record, at)
        self.last = at

    def close_all(self, at: float) -> None:
        """End every connection at `at`."""
        for connection in list(self._open):
            self._close(connection, at)

    def _leave_out(self, until: float, at: float) -> None:
        """Add up what is open until time breaks off, and go on at `at`."""
        for connection, (link, _) in list(self._open.items()):
            self._close(connection, until)
            self._open[connection] = (link, at)

    def _close_child(self, record: Record, at: float) -> None:
        """End the connections of one child; those of another connector, or of its successor, go on."""
        for connection in list(self._open):
            if connection[0] in {0, record.get("pid")}:
                self._close(connection, at)

    def _register(self, record: Record, at: float) -> None:
        place = (str(record.get("location", "")), str(record.get("protocol", "")))
        link = self.found.setdefault(place, Link(*place))
        link.count += record["event"] == "connection_registered" and self._since <= at < self._until
        self._open[_connection(record)] = (link, at)

    def _close(self, connection: _Connection, at: float) -> None:
        if connection in self._open:
            link, begin = self._open.pop(connection)
            link.secs += max(0.0, min(at, self._until) - max(begin, self._since))


def _count(record: Record, name: str = "count") -> int:
    value = record.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
