"""Let one prx at a time own a configuration, and show the second one which does.

The lock is flock(2) on an open file: the kernel frees it when its holder dies, however it dies, so there are no stale
locks to guess about. The text in the file only says who holds it. The descriptor is close-on-exec: no child holds the lock.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from prx.core.durations import in_whole_words
from prx.core.errors import PrxError
from prx.core.parsing import parse_json
from prx.core.shortage import NO_ROOM


class LockHeld(PrxError):  # noqa: N818 - it is a state that the caller handles, not a mistake
    """Another prx holds the lock; `pid` is None and `since` "" in the moment before it has written who it is."""

    usual_code = "already_running"

    def __init__(self, path: Path, pid: int | None, since: str, what: str) -> None:
        super().__init__(_words(pid, what, f", since {since}" if since else ""), hint="`prx stop` ends it")
        self.path = path
        self.pid = pid
        self.since = since
        self.what = what

    def say_for_how_long(self, now: float) -> None:
        """Say for how long it has been running, as of `now` (seconds since 1970), in place of since when."""
        with suppress(ValueError):
            age = now - datetime.fromisoformat(self.since).timestamp()
            self.message = _words(self.pid, self.what, f", for {in_whole_words(max(0.0, age))}")


def _words(pid: int | None, what: str, time: str) -> str:
    who = "another prx" if pid is None else f"prx with pid {pid}"
    return f"{who} is already running {what or 'here'}{time}"


class InstanceLock:
    """Hold the lock until `release`; made by `acquire`."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    @classmethod
    def acquire(cls, path: Path, *, what: str, since: str) -> InstanceLock:
        """Take the lock file at `path` (mode 0600, its folder 0700 if it must be made) or raise LockHeld, at once.

        `what` (for example the configuration file) and `since` are shown to the second one. OSError if the
        file cannot be made, or is a symbolic link.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY, 0o600)
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise OSError(errno.EINVAL, "expected a file that prx has made, found something else", os.fspath(path))  # noqa: TRY301 - it is closed below
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_file_at(path, fd):
                    _write_holder(fd, what, since)
                    return cls(path, fd)
            except BlockingIOError as error:
                held = _read_holder(path, fd, what)
                os.close(fd)
                raise held from error
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # the file was removed between open and lock: a lock on it would protect nothing

    def release(self) -> None:
        """Free the lock; harmless when free. The file stays: removing it would let two others lock two files."""
        if self._fd >= 0:
            with suppress(OSError):
                os.ftruncate(self._fd, 0)
                # by name, not by closing alone: a child in the middle of its exec still shares the open file
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> InstanceLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _is_file_at(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _write_holder(fd: int, what: str, since: str) -> None:
    holder = json.dumps({"pid": os.getpid(), "since": since, "what": what}).encode()
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, holder, 0)
    except OSError as error:
        if error.errno not in NO_ROOM:  # a full disk only hides who holds it
            raise


def _read_holder(path: Path, fd: int, what: str) -> LockHeld:
    try:
        match parse_json(os.pread(fd, 4096, 0)):
            case {"pid": int(pid), "since": str(since), "what": str(whose)}:
                return LockHeld(path, pid, since, whose)
    except (OSError, ValueError):
        pass
    return LockHeld(path, None, "", what)
