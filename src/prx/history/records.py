"""The lines of the history: one JSON object each, made of an event of prx.

    {"at": SECONDS SINCE 1970, "event": NAME, "tunnel": NAME, …}

Beside the events that are kept as they are (`KEPT`) there are those of the history itself:

    prx_started    pid, version, tunnels: {name: local_addr}; the first record of each prx
    prx_stopped    the last record of a prx that ended in order
    snapshot       tunnel, state, verdict, reason, url, local_addr: where a tunnel stands at the beginning of a file, after lost
                   records, and when it serves another address
    connection_open  tunnel, pid, index, location, protocol: a connection that is open at the beginning of a file
    alive          once a minute: what came before was in force until now
    clock_set      by: the wall clock was set ahead by so many seconds (negative: back) since the record above
    probes         tunnel, secs, count, failed, buckets: what the probes of some minutes saw (`prx.history.latency`)
    traffic        tunnel, secs, requests, errors: what visitors asked for in some minutes; none is written if nothing came
    lost           count: so many records could not be written
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any, Final, TypeAlias

from prx.core import events
from prx.core.events import Event
from prx.core.parsing import parse_json

Record: TypeAlias = dict[str, Any]

KEPT: Final = (
    events.StateChanged,
    events.VerdictChanged,
    events.UrlChanged,
    events.ChildStarted,
    events.ChildExited,
    events.ConnectionRegistered,
    events.ConnectionLost,
    events.RestartScheduled,
    events.RestartCancelled,
    events.ConfigReloaded,
)
"""The facts that are kept one by one; probes are added up, and log lines are in the log."""

CLOCK_SET: Final = "clock_set"
OPEN: Final = "connection_open"

_TABLES: Final = {"tunnels", "buckets"}
_TEXTS: Final = {"event", "tunnel"}
_KNOWN: Final = {
    *("at", "event", "tunnel", "pid", "version", "tunnels", "buckets", "count", "failed", "secs", "by"),
    *("state", "verdict", "reason", "url", "local_addr"),
    *(item.name for kind in KEPT for item in fields(kind)),
}
"""The names that this prx reads: a value of another kind than it writes makes no record of theirs."""

_MOST: Final = 1 << 62  # of a number; nothing that is counted gets there
_AT: Final = b'{"at":'
_ALIVE: Final = b',"event":"alive"}'


def from_event(event: Event) -> Record | None:
    """Return the record of `event`, None if it is not kept."""
    fact = event.fact
    if not isinstance(fact, KEPT):
        return None
    own = {item.name: getattr(fact, item.name) for item in fields(fact) if item.name != "tunnel"}
    return {"at": round(event.at, 3), "event": fact.name, "tunnel": fact.tunnel, **own}


def encode(record: Record) -> bytes:
    """Return `record` as one line, without its newline."""
    return json.dumps(record, separators=(",", ":"), ensure_ascii=True).encode()


def decode(line: bytes) -> Record:
    """Read one line; ValueError if it is no record, as a line that was cut off by a crash."""
    if line.endswith(_ALIVE) and line.startswith(_AT):  # four of five lines: worth a short way
        return {"at": _time(float(line[len(_AT) : -len(_ALIVE)])), "event": "alive"}
    record = parse_json(line)
    if not isinstance(record, dict) or not isinstance(record.get("event"), str):
        raise ValueError("expected an object with an event")  # noqa: TRY004 - bad content, as all that is refused here
    if not all(_is_sound(name, value) for name, value in record.items()):
        record = {name: value for name, value in record.items() if name in _KNOWN or _is_sound(name, value)}  # of a newer prx
        if not all(_is_sound(name, value) for name, value in record.items()):
            raise ValueError("expected plain values, and texts for names")
    record["at"] = _time(record.get("at"))
    return record


def _is_sound(name: str, value: object) -> bool:
    """Return whether a field is of a kind that prx writes: a reader need not expect others."""
    if name in _TABLES:
        return isinstance(value, dict)
    if name in _TEXTS:
        return isinstance(value, str)
    if isinstance(value, int):
        return abs(value) < _MOST
    return value is None or isinstance(value, str | float)


def _time(at: object) -> float:
    """Return seconds since 1970, if that is what `at` is."""
    if isinstance(at, bool) or not isinstance(at, int | float) or not 0 < at < 1e11:
        raise ValueError("expected a time")
    return at
