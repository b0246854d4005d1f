"""The order in which stored records are shown: by time, and after a clock that was set back as they were written.

Records lie in the file nearly as they came: what was folded, or held back in a flood, is written some seconds late, so they are
sorted by their times. One whose time lies further back was written after the clock had been set back. It is the newer one,
whatever its time says, and so are those behind it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import Final

LATE_SECONDS: Final = 60.0
"""How late a record may be written: six times as long as repeated lines are held (`prx.logs.fold`)."""


def in_order(records: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return records, each its time in RFC 3339 and anything else, in the order in which they are to be shown."""
    parts: list[list[tuple[str, str]]] = [[]]
    latest = ""
    for record in records:
        at = record[0]
        if at > latest:
            latest = at
        elif at < latest and _lies_back(at, latest):
            parts.append([])
            latest = at
        parts[-1].append(record)
    return [record for part in parts for record in sorted(part, key=lambda item: item[0])]


def _lies_back(at: str, latest: str) -> bool:
    """Return whether `at` lies further before `latest` than a record can be late."""
    with suppress(ValueError, TypeError):  # not a time, or one without its zone: not written by prx
        return (datetime.fromisoformat(latest) - datetime.fromisoformat(at)).total_seconds() > LATE_SECONDS
    return False
