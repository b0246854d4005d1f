"""Write a file so that, killed at any moment, its path holds the old content or the new one, whole."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

_NO_SYNC = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM}  # of a folder: it cannot
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}  # file systems without hard links, such as vfat


def write_whole(
    path: Path,
    content: bytes,
    *,
    mode: int = 0o600,
    owner: tuple[int, int] | None = None,
    durable: bool = True,
    beside: str = "",
) -> None:
    """Put `content` in the place of whatever is at `path`; on any error (OSError) before the rename that is still there.

    The folder must exist. A symbolic link at `path` is replaced itself. The mode is exact, whatever the umask; `owner` (user,
    group) is set if this process may. What need not survive a loss of power is not `durable`: then nothing waits for the disk.
    `beside` names the new file until the rename, for a caller that holds a lock: what a kill leaves is replaced by the next
    write. Without it the name cannot be guessed. If syncing the folder fails, the new content is there and OSError is raised.
    """
    fresh = _written(path, content, mode, owner=owner, durable=durable, beside=beside)
    try:
        fresh.replace(path)
    except BaseException:
        _forget(fresh)
        raise
    if durable:
        sync_folder(path.parent)


def write_new(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Do the same where there must be nothing at `path`: FileExistsError if there is."""
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
        fresh.replace(path)  # a moment in which another could have written it is left only if links do not exist


def require_replaceable(path: Path) -> None:
    """Raise OSError if no file can be written beside `path` to take its place; nothing is left there."""
    descriptor, fresh = _created(path, "")
    os.close(descriptor)
    _forget(Path(fresh))


def _written(
    path: Path, content: bytes, mode: int, *, owner: tuple[int, int] | None = None, durable: bool = True, beside: str = ""
) -> Path:
    """Write a new file beside `path` and sync it."""
    descriptor, name = _created(path, beside)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - by descriptor
            os.fchmod(descriptor, mode)
            if owner:
                with suppress(PermissionError):  # only root can give files away
                    os.fchown(descriptor, *owner)
            file.write(content)
            file.flush()
            if durable:
                os.fsync(descriptor)
    except BaseException:
        _forget(Path(name))
        raise
    return Path(name)


def _created(path: Path, beside: str) -> tuple[int, str]:
    fresh = path.with_name(beside or f".{path.name[:100]}.{os.urandom(8).hex()}")
    if beside:
        fresh.unlink(missing_ok=True)
    return os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), str(fresh)


def _forget(fresh: Path) -> None:
    with suppress(OSError):
        fresh.unlink()


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` last, if the file system can; raise OSError if it can and fails."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
