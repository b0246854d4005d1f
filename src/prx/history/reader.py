"""Reads the history again: every whole record of a span of time, whatever lies between them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from prx.history.records import Record, decode
from prx.history.renames import under_one_name
from prx.history.segments import day_of, segments

_LONGEST_LINE = 64 * 1024
_BEFORE_SECONDS = 180.0  # the sign of life before midnight belongs to the time after it


@dataclass(slots=True)
class Life:
    """What the prx with one key wrote, in the order of writing. damaged: lines that are no records."""

    key: str
    records: list[Record] = field(default_factory=list)
    damaged: int = 0


def read(folder: Path, since: float) -> list[Life]:
    """Return what was written from the day of `since` (seconds since 1970) on, by key; empty if nothing was.

    Each day's file begins with a snapshot, so nothing older is needed. OSError if a file cannot be read; one that was deleted
    meanwhile, because it was too old, counts as nothing.
    """
    first = day_of(since - _BEFORE_SECONDS)
    recent = sorted(
        (item for item in segments(folder) if item.day >= first), key=lambda item: (item.key, item.day, item.number)
    )
    lives = []
    for key, files in groupby(recent, key=lambda item: item.key):
        life = Life(key)
        for file in files:
            for line in _lines(file.path):
                try:
                    life.records.append(decode(line))
                except ValueError:
                    life.damaged += 1
        under_one_name(life.records)
        if life.records or life.damaged:
            lives.append(life)
    return lives


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file that are not empty; one that is far too long in pieces, which are no records."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENOTDIR}:  # deleted meanwhile, a link, a socket
            return
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return
    with open(descriptor, "rb") as file:  # noqa: PTH123 - by descriptor
        while line := file.readline(_LONGEST_LINE):
            if line := line.strip():
                yield line
