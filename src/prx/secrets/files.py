"""Read and write files that hold secrets.

Reading trusts nothing: the file is opened without following a link and without waiting (a FIFO would block for ever), and what
was opened is judged by `fstat`, so that nothing can be swapped between the check and the read.

Writing is atomic: a new file beside the old one, synced, renamed over it, and the folder synced. Killed at any point, the path
holds the old content or the new content, whole.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Final

from prx.secrets.errors import SecretError

MAX_SECRET_BYTES: Final = 64 * 1024
_READ_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_CREATE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


def read_private(path: Path, *, limit: int = MAX_SECRET_BYTES, allow_group: bool = False) -> bytes:
    """Give the content of a file that nobody else can read: at most `limit` bytes.

    It must be a regular file, owned by root or by us, closed to group and others (`allow_group`: others only, for systemd,
    whose access list for the service's user shows as group bits). SecretError otherwise, naming path and defect; OSError for
    a file that is missing or not ours to open is turned into SecretError too.
    """
    try:
        descriptor = os.open(path, _READ_FLAGS)
    except OSError as error:
        raise SecretError(f"{path}: {_open_failure(error)}", hint=_open_hint(error, path)) from None
    try:
        _check(os.fstat(descriptor), path, limit, allow_group=allow_group)
        return _read_all(descriptor, path, limit)
    finally:
        os.close(descriptor)


def _open_failure(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "is a symbolic link, which can be turned elsewhere"
    return (error.strerror or type(error).__name__).lower()


def _open_hint(error: OSError, path: Path) -> str:
    return f"name the file that {path} points to" if error.errno == errno.ELOOP else ""


def _check(info: os.stat_result, path: Path, limit: int, *, allow_group: bool) -> None:
    if not stat.S_ISREG(info.st_mode):
        raise SecretError(f"{path}: is not a regular file")
    if info.st_uid not in (0, os.geteuid()):
        raise SecretError(
            f"{path}: belongs to uid {info.st_uid}, expected root or uid {os.geteuid()}", hint=f"chown it: {path}"
        )
    forbidden = 0o007 if allow_group else 0o077
    if info.st_mode & forbidden:
        mode = stat.S_IMODE(info.st_mode)
        raise SecretError(f"{path}: others can reach it (mode {mode:04o}, expected 0600)", hint=f"chmod 600 {path}")
    if info.st_size > limit:
        raise SecretError(f"{path}: has {info.st_size} bytes, expected at most {limit}")


def _read_all(descriptor: int, path: Path, limit: int) -> bytes:
    content = b""
    while chunk := os.read(descriptor, limit + 1 - len(content)):
        content += chunk
        if len(content) > limit:
            raise SecretError(f"{path}: grew beyond {limit} bytes while it was read")
    return content


def clean_text(content: bytes, place: str) -> str:
    """Turn what editors write into the secret itself: without byte order mark and without the line ends at its end.

    SecretError, naming `place`, when nothing is left or when it is not UTF-8 text.
    """
    if content.startswith(_UTF16_MARKS):
        raise SecretError(f"{place}: is UTF-16, expected UTF-8", hint="save it as UTF-8")
    try:
        text = content.removeprefix(b"\xef\xbb\xbf").decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise SecretError(f"{place}: byte {error.start} is not UTF-8 text") from None
    if "\0" in text:
        raise SecretError(f"{place}: holds a zero byte, expected text")
    if not text.strip():
        raise SecretError(f"{place}: is empty")
    return text


def write_private(path: Path, content: bytes) -> None:
    """Replace `path` by `content` (mode 0600), atomically; on any error (OSError) the old file is still there.

    The caller holds a lock: the new file's name is always the same, so that one left behind by a kill goes with the next write.
    """
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    try:
        _create(temporary, content)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _create(path: Path, content: bytes) -> None:
    descriptor = os.open(path, _CREATE_FLAGS, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        while content:
            content = content[file.write(content) or 0 :]
        os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
