"""The rotating log file: bounded, private, and whole again after whatever happened to it.

`RotatingFile` is synchronous and belongs to one thread (`prx.logs.sinks`). Before each write it checks whether the path still
is the file that it has open: removed, renamed by logrotate, folder deleted: it opens again. Truncated from outside
(copytruncate): appending simply goes on. A line is written whole or not at all: when the disk fills up in the middle,
the piece is taken back. What is handed over as one line may be several, with newlines between them: they stay together.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_LARGE = 16 * 1024  # bytes of a line, on average
_PARTS = 512  # lines of one call: IOV_MAX is 1024


def rotated(path: Path, number: int) -> Path:
    """Return the name of the `number`-th older file: "prx.log.1" is the youngest of them; 0 is `path` itself."""
    return path.with_name(f"{path.name}.{number}") if number else path


class RotatingFile:
    """Append lines to `path` (0600); at `max_bytes` it becomes "path.1", and so on up to `backups` older files.

    A line longer than `max_bytes` gets a file of its own.
    """

    def __init__(self, path: Path, *, max_bytes: int = 10 * 1024 * 1024, backups: int = 3) -> None:
        self.path = path
        self._max_bytes, self._backups = max_bytes, backups
        self._fd = -1

    def write(self, lines: Sequence[bytes]) -> int:
        """Append lines (without newline) in order, return how many were written.

        OSError or MemoryError if not even the first one could be; fewer than all if room was wanting on the way.
        """
        done = 0
        while done < len(lines):
            try:
                done += self._write_some(lines[done:])
            except (OSError, MemoryError):
                if not done:
                    raise
                break
        return done

    def close(self) -> None:
        """Close the file; the next write opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write_some(self, lines: Sequence[bytes]) -> int:
        """Write as many lines as fit into the present file, at least one."""
        size = self._open()
        if size and size + len(lines[0]) + 1 > self._max_bytes:
            self._rotate()
            size = self._open()
        total = count = 0
        for line in lines:
            if count and size + total + len(line) + 1 > self._max_bytes:
                break
            total += len(line) + 1
            count += 1
        written = self._append(lines[:count], total)
        return count if written == total else self._take_back(lines, size, written)

    def _append(self, lines: Sequence[bytes], total: int) -> int:
        """Write lines at once, as far as there is room; return how many bytes were written."""
        if total < _LARGE * len(lines):
            return os.write(self._fd, b"\n".join([*lines, b""]))
        return os.writev(self._fd, [part for line in lines[:_PARTS] for part in (line, b"\n")])  # nothing is copied

    def _take_back(self, lines: Sequence[bytes], size: int, written: int) -> int:
        """Cut the file behind the last line that was written whole; return how many were."""
        whole = count = 0
        for line in lines:
            if whole + len(line) + 1 > written:
                break
            whole += len(line) + 1
            count += 1
        with suppress(OSError):
            os.ftruncate(self._fd, size + whole)
        if not count:
            raise OSError(28, os.strerror(28), str(self.path))  # ENOSPC: the reason of every short write to a file
        return count

    def _open(self) -> int:
        """Make sure that the file at the path is the one that is open; return its size."""
        if self._fd >= 0:
            try:
                mine = os.fstat(self._fd)
                if os.path.samestat(mine, self.path.lstat()):
                    return mine.st_size
            except FileNotFoundError:
                pass
            self.close()
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(self.path, flags, 0o600)
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            os.close(fd)
            raise OSError(22, "expected a regular file", str(self.path))
        self._fd = fd
        return facts.st_size

    def _rotate(self) -> None:
        self.close()
        for number in range(self._backups, 0, -1):
            with suppress(FileNotFoundError):
                rotated(self.path, number - 1).replace(rotated(self.path, number))
        if not self._backups:
            self.path.unlink(missing_ok=True)
