"""Read and write files that hold secrets.

Reading trusts nothing: the way to the file is walked folder by folder, and it is opened without waiting (a FIFO would block for
ever), so that nothing can be swapped between the check and the read (`prx.files.walk`). Secrets that containers mount are
readable to all by design, and reached through links in Kubernetes: there it counts that only root can change them.

Writing is atomic: a new file beside the old one, synced, renamed over it, and the folder synced. Killed at any point, the path
holds the old content or the new content, whole.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from prx.files import Claim, FileRefusedError
from prx.files.reading import read_bounded, require_trusted
from prx.files.replace import write_whole
from prx.files.rule import folders_are_closed, is_mounted_secret, trusted_uids
from prx.files.walk import Walked, file_system_of, kind_of, walked
from prx.secrets.errors import SecretError, secret_error

MAX_SECRET_BYTES: Final = 64 * 1024
_WITHOUT_MODES: Final = {"9p", "drvfs", "vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "cifs", "smb3", "vboxsf", "fuse"}
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


def read_private(
    path: Path,
    *,
    limit: int = MAX_SECRET_BYTES,
    allow_group: bool = False,
    claim: Claim | None = None,
    environ: Mapping[str, str] | None = None,
) -> bytes:
    """Return the content of a file that no one else can read: at most `limit` bytes.

    It must be a regular file that may be used at all. In a folder of ours (`claim` is None) it must belong to root or to us,
    and be no link; for others the way to it counts (`prx.files.rule`). It must be closed to group and others (`allow_group`:
    others only, for systemd, whose access list for the service's user shows as group bits). Secrets that a container mounts
    may be open to all, if only root can change them. Links are followed if no one else can turn them.

    SecretError otherwise, naming path and defect, and for a file that is missing or not ours to open; SecretShortageError if it
    cannot be read for now.
    """
    try:
        with walked(path) as found:
            _check(found, path, limit, claim, environ, allow_group=allow_group)
            descriptor = found.open()
        try:
            return read_bounded(descriptor, path, limit)
        finally:
            os.close(descriptor)
    except FileRefusedError as error:
        raise SecretError(error.message, hint=error.hint or _other_ways(path)) from None
    except OSError as error:
        hint = _other_ways(path) if isinstance(error, PermissionError) else ""
        raise secret_error(f"{path}: {(error.strerror or type(error).__name__).lower()}", error, hint=hint) from None


def _check(
    found: Walked, path: Path, limit: int, claim: Claim | None, environ: Mapping[str, str] | None, *, allow_group: bool
) -> None:
    if claim is None and path.is_symlink():
        raise SecretError(f"{path}: is a symbolic link, which can be turned elsewhere", hint=f"move the file itself to {path}")
    if found.way.file is not None and (kind := kind_of(found.way.file.mode)):
        raise SecretError(f"{path}: is {kind}, not a regular file")
    file = found.require_file()
    uids = trusted_uids(os.environ if environ is None else environ)
    if claim is not Claim.NAMED and file.uid not in uids:
        raise SecretError(f"{path}: belongs to uid {file.uid}, expected root or uid {os.geteuid()}", hint=f"chown it: {path}")
    forbidden = 0o007 if allow_group else 0o077
    if file.mode & forbidden and not is_mounted_secret(found.way, uids):
        mode = stat.S_IMODE(file.mode)
        raise SecretError(
            f"{path}: others can reach it (mode {mode:04o}, expected 0600)", hint=_closing(path, read_only=file.read_only)
        )
    if claim is not None:
        require_trusted(found.way, path, claim, environ=environ, naming="write its whole path")
    if found.way.links and not folders_are_closed(found.way, uids):
        link = found.way.links[-1][0].path
        raise SecretError(f"{path}: is a symbolic link, which others can turn elsewhere ({link})", hint=_other_ways(path))


def _closing(path: Path, *, read_only: bool) -> str:
    """Return how to close a file to others, or what works instead on a file system that does not keep modes."""
    kind = file_system_of(path)
    if read_only:
        return f"it lies on a read-only mount: {_other_ways(path)}"
    if kind in _WITHOUT_MODES:
        return f"chmod does nothing on a {kind} file system: {_other_ways(path)}"
    return f"chmod 600 {path}; or {_other_ways(path)}"


def _other_ways(path: Path) -> str:
    return f'"cmd:cat {path}" takes it as it is, "env:NAME" takes a variable'


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
    write_whole(path, content, beside=f".{path.name}.new")
