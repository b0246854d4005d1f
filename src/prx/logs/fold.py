"""Say a repeated line once, and then how often: "Retrying connection (×37)".

Theory of operation
-------------------
A line goes out at once when it is seen for the first time. Its repeats are held and counted. The count goes out, as one
line with the newest repeat's own data, when `hold` seconds have passed since the first held repeat, or when so many
*other* lines came that it is the longest unseen of `width` lines. So a group of lines that alternate (a client that
cannot connect prints the same three again and again) folds too, a count is never late by more than `hold`, and nothing is
lost: the counts add up to the number of lines. The time is an argument; the owner calls `flush` when `due` says so.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from prx.logs.records import LogRecord


def same_words(record: LogRecord) -> Hashable:
    """Take two records for the same when tunnel, source, level, message and the error that belongs to it are."""
    return (record.tunnel, record.source, record.level, record.message, str(record.fields.get("error", "")))


@dataclass(slots=True)
class _Held:
    newest: LogRecord
    repeats: int = 0
    since: float = 0.0


class Folder:
    """Fold repeated records; `key` says which are the same, `hold` is in seconds, `width` in different lines."""

    def __init__(self, *, hold: float = 10.0, width: int = 8, key: Callable[[LogRecord], Hashable] = same_words) -> None:
        self._hold, self._width, self._key = hold, width, key
        self._held: OrderedDict[Hashable, _Held] = OrderedDict()

    def push(self, now: float, record: LogRecord) -> list[LogRecord]:
        """Take a record, return those that go out now, in order. `now` is any monotonic clock's seconds."""
        out = self.flush(now)
        key = self._key(record)
        held = self._held.get(key)
        if held is None:
            if len(self._held) >= self._width:
                _, oldest = self._held.popitem(last=False)
                out += _folded(oldest)
            self._held[key] = _Held(record)
            return [*out, record]
        if not held.repeats:
            held.since = now
        held.newest = record
        held.repeats += 1
        self._held.move_to_end(key)
        return out

    @property
    def due(self) -> float | None:
        """Return when `flush` has something to return at the earliest; None while nothing is held."""
        return min((held.since + self._hold for held in self._held.values() if held.repeats), default=None)

    def flush(self, now: float, *, everything: bool = False) -> list[LogRecord]:
        """Return the counts that are due, or all of them."""
        out: list[LogRecord] = []
        for held in self._held.values():
            if held.repeats and (everything or now >= held.since + self._hold):
                out += _folded(held)
                held.repeats = 0
        return out


def _folded(held: _Held) -> list[LogRecord]:
    """Return the one record that stands for all repeats: unchanged for a single one."""
    if held.repeats <= 1:
        return [held.newest] * held.repeats
    fields = {**held.newest.fields, "repeated": held.repeats}
    message = f"{held.newest.message} (×{held.repeats})".lstrip()
    return [dataclasses.replace(held.newest, message=message, fields=fields)]
