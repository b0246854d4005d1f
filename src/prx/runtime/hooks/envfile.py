"""A hook that keeps a variable in a dotenv file up to date.

Everything else in the file stays as it is, byte for byte. The new file takes the old one's place in one step, with its mode
and, if possible, its owner; a symbolic link stays one, and the file that it leads to is replaced. A new file is for its
owner only, because other programs will put secrets there.

Some files cannot be replaced, only written: one that is itself a mount (as containers have them), one in a folder that may
not be changed, one with a second name (hard link). Such a file is written in place, and gets its old content back when that
fails.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from prx.core.errors import with_hint
from prx.files import Claim, FileRefusedError
from prx.files.reading import read_plain, require_trusted_path
from prx.files.replace import write_whole
from prx.files.walk import kind_of
from prx.runtime.hooks.kinds import Change, HookError

VARIABLE = "PRX_URL"
_PLAIN = re.compile(r"[A-Za-z0-9:/._~%?&=@\[\]-]+")  # needs no quotes in a dotenv file or a shell
_NEW_FILE = 0o600
_LARGEST = 1024 * 1024
# Errors of the folder that leave the file in it writable: a mount point (EBUSY), another file system (EXDEV), no right
# to change the folder (EACCES, EPERM: also its sticky bit), a read-only mount, a name too long for a second file beside it.
_NOT_REPLACEABLE = {errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG}
# What no waiting changes; a full disk, a lack of descriptors, and a folder that comes later are worth another try.
_NEVER = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}


@dataclass(frozen=True, slots=True)
class EnvFileHook:
    """Sets PRX_URL in the dotenv file `path`; `claim`: whether its whole path was written, or it was found beside something."""

    path: Path
    claim: Claim = Claim.NAMED

    @property
    def label(self) -> str:
        """Name the file."""
        return str(self.path)

    async def deliver(self, change: Change) -> None:
        """Write the URL into the file, at once: it is a short one."""
        try:
            require_trusted_path(self.path, self.claim)
            set_variable(self.path, VARIABLE, change.url)
        except FileRefusedError as error:
            raise HookError(with_hint(f"not written: {error.message}", error.hint), permanent=True) from error
        except OSError as error:
            permanent = error.errno in _NEVER
            raise HookError(f"cannot be written: {error.strerror or error}", permanent=permanent) from error
        except ValueError as error:
            raise HookError(str(error), permanent=True) from error


def set_variable(path: Path, name: str, value: str) -> None:
    """Set `name` to `value` in the dotenv file `path`, which need not exist.

    Every line that sets it is changed, with or without `export`; if none does, one is added at the end. Raise ValueError for
    a value that needs quoting and for what is no such file, OSError when it cannot be written.
    """
    if not _PLAIN.fullmatch(value):
        raise ValueError(f"expected a URL without quotes and spaces, found {value!r}")
    target = Path(os.path.realpath(path))
    old, status = _read(target)
    new = _changed(old, name, value)
    if status is None:
        _replace(target, new, None)
    elif new != old:
        _renew(target, old, new, status)


def _read(target: Path) -> tuple[bytes, os.stat_result | None]:
    try:
        status = target.stat()
    except FileNotFoundError:
        return b"", None
    if kind := kind_of(status.st_mode):
        raise ValueError(f"expected a file, found {kind}")
    if status.st_size > _LARGEST:
        raise ValueError(f"expected a dotenv file of at most 1 MiB, found {status.st_size} bytes")
    return read_plain(target, limit=_LARGEST), status


def _changed(old: bytes, name: str, value: str) -> bytes:
    pattern = re.compile(rb"^([ \t]*(?:export[ \t]+)?" + re.escape(name.encode()) + rb"[ \t]*=)[^\r\n]*", re.MULTILINE)
    new, count = pattern.subn(lambda match: match[1].rstrip() + value.encode(), old)
    if count:
        return new
    newline = b"\r\n" if b"\r\n" in old else b"\n"
    gap = b"" if not old or old.endswith(b"\n") else newline
    return old + gap + f"{name}={value}".encode() + newline


def _renew(target: Path, old: bytes, new: bytes, status: os.stat_result) -> None:
    """Replace the content of an existing file: by another file in its place, or if that cannot be, in place."""
    if status.st_nlink == 1:
        try:
            _replace(target, new, status)
        except OSError as error:
            if error.errno not in _NOT_REPLACEABLE:
                raise
        else:
            return
    _overwrite(target, old, new)


def _overwrite(target: Path, old: bytes, new: bytes) -> None:
    """Write `new` over the content `old` of a file; put `old` back when that fails."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        try:
            _write_whole(file, new)
        except OSError:
            with contextlib.suppress(OSError):
                _write_whole(file, old)
            raise


def _write_whole(file: FileIO, content: bytes) -> None:
    file.seek(0)
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
    file.truncate()
    os.fsync(file.fileno())


def _replace(target: Path, content: bytes, status: os.stat_result | None) -> None:
    if status is None:
        write_whole(target, content, mode=_NEW_FILE)
    else:
        write_whole(target, content, mode=stat.S_IMODE(status.st_mode), owner=(status.st_uid, status.st_gid))
