"""The story and the child's log: the last lines of a prx's log file that fit what the reader wants."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prx.logs.reader import tail
from prx.logs.records import LEVELS, LogRecord, Unfolder, blocks
from prx.logs.text import printable

LOOK_BACK: Final = 5_000  # lines of the file
MOST_LINES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a log is shown: from which level on, with which text, of which tunnel (empty: all), at most how many lines."""

    level: str = "info"
    text: str = ""
    tunnel: str = ""
    lines: int = 200

    def fits(self, record: LogRecord) -> bool:
        """Return whether a record is shown; what concerns prx itself belongs to every tunnel."""
        level = LEVELS.index(record.level) if record.level in LEVELS else LEVELS.index("info")
        if level < LEVELS.index(self.level) or (self.tunnel and record.tunnel not in {"", self.tunnel}):
            return False
        return self.text.lower() in f"{record.source} {record.words}".lower()


def lines(path: Path, wanted: Wanted) -> list[LogRecord]:
    """Return the records that fit, oldest first; empty if the file is missing. Blocks; OSError if it cannot be read."""
    found: list[LogRecord] = []
    for block in reversed(list(blocks(tail(path, LOOK_BACK)))):
        found += [one for one in reversed(list(_records(block))) if wanted.fits(one)]
        if len(found) >= wanted.lines:
            break
    return found[: wanted.lines][::-1]


def _records(block: Sequence[bytes]) -> Iterator[LogRecord]:
    unfolder = Unfolder()
    for line in block:
        with suppress(ValueError):  # cut off by a crash
            yield from unfolder.take(line)


def shown(record: LogRecord) -> dict[str, Any]:
    """Return a record as the page shows it: the message with the error that belongs to it."""
    return row(record) | {"message": printable(record.words)}


def row(record: LogRecord) -> dict[str, Any]:
    """Return a record as JSON shows it; every text is one line without control characters."""
    kept: dict[str, Any] = json.loads(record.to_json())
    return {name: printable(value) if isinstance(value, str) else value for name, value in kept.items()}
