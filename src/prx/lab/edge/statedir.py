"""The directory of a lab. One that was given none has its own in the system's temporary folder, gone when the lab ends.

Such a lab holds a lock (flock(2)) on a file in its directory for as long as it lives; the system drops it even after SIGKILL.
So each new one deletes the directories whose lock is not held any more.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "prx-lab-"
_LOCK = "lock"


@contextmanager
def lab_directory(given: Path | None) -> Iterator[Path]:
    """Yield the directory that was `given`, made if it is not there, or a temporary one; only this user can read it."""
    if given is None:
        with _temporary_directory() as directory:
            yield directory
        return
    given.mkdir(mode=0o700, parents=True, exist_ok=True)
    yield given


@contextmanager
def _temporary_directory() -> Iterator[Path]:
    """Yield a new directory, and delete those that killed labs of this user have left behind."""
    _sweep(Path(tempfile.gettempdir()))
    while True:
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX))  # created 0700
        with (directory / _LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.fstat(lock.fileno()).st_nlink:  # another lab took the file before it was locked for one left behind
                continue
            try:
                yield directory
            finally:
                shutil.rmtree(directory, ignore_errors=True)
            return


def _sweep(folder: Path) -> None:
    for left in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # its lock is held, it is just coming up or going away, or another user's
            if left.lstat().st_uid != os.geteuid() or left.is_symlink():
                continue
            descriptor = os.open(left / _LOCK, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb") as lock:  # noqa: PTH123 - by descriptor
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left)
