"""The files of the history: one for each prx and day, appended to, never rewritten, the oldest deleted first.

    FOLDER/KEY.YYYYMMDD.jsonl, then KEY.YYYYMMDD.1.jsonl, … when one has reached `SEGMENT_BYTES`

KEY is the instance's (`prx.control.instance`), so that two prx never write one file. A file is bounded, private (0600) and
begins with the standing of every tunnel, so that each can be read without those before it. A line is on disk whole or not at
all, as far as a write can promise it; what a power cut leaves of a line is closed off by the next writer and skipped by
readers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from prx.files.errors import FileRefusedError
from prx.files.walk import walked
from prx.logs.files import RotatingFile

SEGMENT_BYTES: Final = 4 * 1024 * 1024
"""At this size a day's next file begins; a quarter of the whole bound if that is less."""

_NAME: Final = re.compile(r"(?P<key>.+)\.(?P<day>\d{8})(?:\.(?P<number>\d{1,6}))?\.jsonl")


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """One file of the history; they sort by day, key and number."""

    day: str
    key: str
    number: int
    path: Path


def segments(folder: Path) -> list[Segment]:
    """Return the files of the history in `folder`, the oldest day first; none if there is no such folder.

    OSError if something else is in its place, or it cannot be read: that is not the same as none.
    """
    return sorted(_found(folder))


def _found(folder: Path) -> Iterator[Segment]:
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            if (name := _NAME.fullmatch(path.name)) is not None:
                yield Segment(name["day"], name["key"], int(name["number"] or 0), path)


def day_of(at: float) -> str:
    """Return the day, in UTC, of a time in seconds since 1970."""
    return datetime.fromtimestamp(at, tz=UTC).strftime("%Y%m%d")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept: days, and bytes of all files together."""

    days: int = 90
    total_bytes: int = 64 * 1024 * 1024

    @property
    def segment_bytes(self) -> int:
        """The size at which a file ends."""
        return min(SEGMENT_BYTES, max(4096, self.total_bytes // 4))


class SegmentWriter:
    """Write lines into the file of the day; a `prx.logs.sinks.Target`, used in the writing thread.

    `header` returns the lines that a new file begins with; they also follow a write that failed, because something may be
    missing then. `wall` gives seconds since 1970.
    """

    def __init__(
        self, folder: Path, key: str, bounds: Bounds, *, header: Callable[[], Sequence[bytes]], wall: Callable[[], float]
    ) -> None:
        self._folder, self._key, self._bounds, self._header, self._wall = folder, key, bounds, header, wall
        self._day = ""
        self._file: RotatingFile | None = None
        self._header_due = True

    def write(self, lines: Sequence[bytes]) -> int:
        """Append lines (without newline) in order; return how many were written. OSError or MemoryError if none could be."""
        done = 0
        while done < len(lines):
            file = self._file_of_today()
            head = [*_closing_newline(file.path), *self._header()] if self._header_due else []
            room = max(1, self._bounds.segment_bytes // max(map(len, lines)))
            part = lines[done : done + room]
            try:
                written = file.write([*head, *part])
            except (OSError, MemoryError):
                self._header_due = True
                if done:
                    return done
                raise
            done += max(0, written - len(head))
            self._header_due = written < len(head) + len(part)
            if self._header_due:
                return done
        return done

    def interrupt(self) -> None:
        """Do nothing: a write to a file does not wait for a reader."""

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _file_of_today(self) -> RotatingFile:
        """Return the file to append to, after the old ones are deleted if a new one begins."""
        day = day_of(self._wall())
        if self._file is None or day != self._day or _size(self._file.path) >= self._bounds.segment_bytes:
            self.close()
            self._day, self._header_due = day, True
            path = self._path(day)
            prune(self._folder, self._bounds, self._wall(), keep=path)
            self._file = RotatingFile(path, max_bytes=1 << 62, backups=0)
        return self._file

    def _path(self, day: str) -> Path:
        """Return the path of the newest file of `day`, or of the next one if that is full."""
        mine = [item.number for item in segments(self._folder) if (item.key, item.day) == (self._key, day)]
        number = max(mine, default=0)
        path = _named(self._folder, self._key, day, number)
        return path if _size(path) < self._bounds.segment_bytes else _named(self._folder, self._key, day, number + 1)


def prune(folder: Path, bounds: Bounds, now: float, *, keep: Path) -> None:
    """Delete what is older than `bounds.days`, then the oldest files until the rest, and one more, fits; never `keep`.

    If all of it is too old, the clock may be wrong, and nothing is deleted for its age: the next day decides that.
    """
    oldest = day_of((datetime.fromtimestamp(now, tz=UTC) - timedelta(days=bounds.days)).timestamp())
    found = [item for item in segments(folder) if item.path != keep]
    if all(item.day < oldest for item in found):
        oldest = ""
    left = [item for item in found if item.day >= oldest]
    total = sum(_size(item.path) for item in left) + bounds.segment_bytes
    gone = [item for item in found if item.day < oldest]
    for item in left:
        if total <= bounds.total_bytes:
            break
        total -= _size(item.path)
        gone.append(item)
    for item in gone:
        with suppress(OSError):
            item.path.unlink()


def _named(folder: Path, key: str, day: str, number: int) -> Path:
    return folder / (f"{key}.{day}.{number}.jsonl" if number else f"{key}.{day}.jsonl")


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _closing_newline(path: Path) -> list[bytes]:
    """Return an empty line if the file ends within a line, so that the next one is whole."""
    try:
        with walked(path) as found, open(found.open(), "rb") as file:  # noqa: PTH123 - by descriptor
            file.seek(-1, 2)
            return [] if file.read(1) == b"\n" else [b""]
    except (OSError, FileRefusedError):  # none yet, or empty; or no file, which the write itself reports
        return []
