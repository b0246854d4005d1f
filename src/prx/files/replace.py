"""Write a file so that, killed at any moment, its path holds the old content or the new one, whole."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import suppress
from pathlib import Path

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}  # file systems without hard links, such as vfat


def write_whole(path: Path, content: bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """Put `content` in the place of whatever is at `path`; on any error (OSError) that is still there.

    The folder must exist. A symbolic link at `path` is replaced itself. The mode is exact, whatever the umask. What need not
    survive a loss of power is not `durable`: then nothing waits for the disk.
    """
    fresh = _written(path, content, mode, durable=durable)
    try:
        fresh.replace(path)
    except BaseException:
        _forget(fresh)
        raise
    if durable:
        sync_folder(path.parent)


def write_new(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Do the same where there must be nothing at `path`: FileExistsError where there is."""
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    fresh = _written(path, content, mode)
    try:
        _link(fresh, path)
    finally:
        _forget(fresh)
    sync_folder(path.parent)


def _link(fresh: Path, path: Path) -> None:
    try:
        os.link(fresh, path, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        fresh.replace(path)  # a moment in which another could have written it is left only where links do not exist


def _written(path: Path, content: bytes, mode: int, *, durable: bool = True) -> Path:
    """Write a new file beside `path`, with a name that cannot be guessed, and sync it."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - by descriptor
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            if durable:
                os.fsync(descriptor)
    except BaseException:
        _forget(Path(name))
        raise
    return Path(name)


def _forget(fresh: Path) -> None:
    with suppress(OSError):
        fresh.unlink()


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` last, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
