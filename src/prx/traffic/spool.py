"""Requests on disk, in order: each a file of its own, synced before it counts. Blocking, one caller at a time.

A file's name is its place in the order and how often its delivery was started: `000000000012-000.req`.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

from prx.config.paths import ensure_private_dir

MOST: Final = 20_000  # requests that wait
MOST_BYTES: Final = 512 * 1024 * 1024
_NAME: Final = re.compile(r"0[0-9]{11}-[0-9]{3}\.(?:req|failed)")  # no prx gets as far as to a first digit that is not 0


class SpoolFullError(Exception):
    """No more is kept."""


class Spool:
    """Requests in `folder`, oldest first; blocking, one caller at a time."""

    def __init__(self, folder: Path, *, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._folder, self._most, self._most_bytes = ensure_private_dir(folder), most, most_bytes
        for left in folder.glob("*.part"):  # never answered 202
            with suppress(OSError):
                left.unlink()
        found = _own_files(folder)
        self._names = sorted(name for name in found if name.endswith(".req"))
        self._bytes = sum(found[name] for name in self._names)
        self._next = max((int(name[:12]) for name in found), default=0) + 1
        _sync(folder.parent)  # which has the folder's own name

    def __len__(self) -> int:
        return len(self._names)

    def add(self, raw: bytes) -> None:
        """Keep a request for good; raise SpoolFullError, or OSError if the disk does not take it."""
        if len(self._names) >= self._most or self._bytes + len(raw) > self._most_bytes:
            raise SpoolFullError
        name = f"{self._next:012d}-000.req"
        part = self._folder / f"{name}.part"
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
            with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            part.rename(self._folder / name)
            _sync(self._folder)
        except OSError:
            part.unlink(missing_ok=True)
            (self._folder / name).unlink(missing_ok=True)
            raise
        self._next += 1
        self._names.append(name)
        self._bytes += len(raw)

    def oldest(self) -> tuple[str, bytes, int]:
        """Return the oldest request: its place in the order, all of it, and how often its delivery was started."""
        name = self._names[0]
        return name[:12], (self._folder / name).read_bytes(), int(name[13:16])

    def forget(self) -> None:
        """Take in that the file of the oldest one is gone."""
        del self._names[0]
        if not self._names:
            self._bytes = 0

    def begin(self) -> None:
        """Note that the oldest one is about to be written to the service."""
        name = self._names[0]
        marked = f"{name[:12]}-{min(999, int(name[13:16]) + 1):03d}.req"
        (self._folder / name).rename(self._folder / marked)
        self._names[0] = marked
        try:
            _sync(self._folder)
        except OSError:  # nothing is written to the service, so it is no try
            (self._folder / marked).rename(self._folder / name)
            self._names[0] = name
            raise

    def done(self, *, failed: bool = False) -> None:
        """Remove the oldest one, or set it aside."""
        path = self._folder / self._names[0]
        size = path.stat().st_size
        path.rename(path.with_suffix(".failed")) if failed else path.unlink()
        del self._names[0]
        self._bytes -= size
        _sync(self._folder)


def _own_files(folder: Path) -> dict[str, int]:
    """Return name and size of the files in `folder` that are a spool's; links, folders and other names are left alone."""
    with os.scandir(folder) as items:
        own = [item for item in items if _NAME.fullmatch(item.name) and item.is_file(follow_symlinks=False)]
        return {item.name: item.stat(follow_symlinks=False).st_size for item in own}


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
