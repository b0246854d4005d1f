"""Read a file that has passed the rule, at once and within a bound."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from prx.core.value import Value, value_class
from prx.files.errors import FileRefusedError
from prx.files.people import is_private_group
from prx.files.rule import Claim, Way, fault, trusted_uids
from prx.files.walk import walked

LARGEST_CA_FILE: Final = 2 << 20  # bytes; all CAs that browsers know take a quarter of a megabyte


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Content(Value):
    """What a file held when it was read, and the way to it."""

    data: bytes
    way: Way


def read_trusted(
    path: str | os.PathLike[str], claim: Claim, *, limit: int, environ: Mapping[str, str] | None = None, naming: str = ""
) -> Content:
    """Return what the regular file `path` holds, at most `limit` bytes.

    `naming` says how the user would name a file that prx has found, for the hint. Raises FileRefusedError if the rule speaks
    against the file (see `prx.files.rule`), or if it is of another kind, too large, or keeps its reader waiting; OSError
    if it is missing or not ours to read. Never waits for a writer.
    """
    with walked(path) as found:
        found.require_file()
        require_trusted(found.way, path, claim, environ=environ, naming=naming)
        descriptor = found.open()
        try:
            return Content(read_bounded(descriptor, path, limit), found.way)
        finally:
            os.close(descriptor)


def require_trusted(
    way: Way,
    path: str | os.PathLike[str],
    claim: Claim,
    *,
    environ: Mapping[str, str] | None = None,
    naming: str = "",
) -> None:
    """Raise FileRefusedError if the rule speaks against using what lies at the end of `way`."""
    uids = trusted_uids(os.environ if environ is None else environ)
    wrong = fault(way, claim, uids, is_private_group)
    if wrong is None:
        return
    may_be_named = bool(naming) and claim is Claim.FOUND and fault(way, Claim.NAMED, uids, is_private_group) is None
    remedy = f"check it first; then {naming}, or {wrong.remedy}" if may_be_named else wrong.remedy
    raise FileRefusedError(path, wrong.words, hint=remedy)


def require_trusted_path(
    path: str | os.PathLike[str], claim: Claim, *, environ: Mapping[str, str] | None = None, naming: str = ""
) -> None:
    """Do the same for what lies at `path`, a file to replace or nothing yet; FileRefusedError for another kind."""
    with walked(path) as found:
        if found.way.file is not None:
            found.require_file()
        require_trusted(found.way, path, claim, environ=environ, naming=naming)


def read_plain(path: str | os.PathLike[str], *, limit: int, ours: bool = False) -> bytes:
    """Return what a regular file holds, at most `limit` bytes, whatever the way to it: for files in a folder of ours.

    With `ours` the file itself must be ours or root's. Raises as `read_trusted` does.
    """
    with walked(path) as found:
        if ours and found.require_file().uid not in trusted_uids(os.environ):
            raise FileRefusedError(path, f"{found.way.file}: it belongs to another user")
        descriptor = found.open()
    try:
        return read_bounded(descriptor, path, limit)
    finally:
        os.close(descriptor)


def require_plain(path: str | os.PathLike[str], *, limit: int) -> None:
    """Raise FileRefusedError if a library that reads `path` by itself would wait, or never finish; OSError if there is none."""
    with walked(path) as found:
        found.require_file()
    if (size := os.stat(path).st_size) > limit:  # noqa: PTH116 - as it was given
        raise FileRefusedError(path, f"has {size} bytes, expected at most {limit}")


def require_ca_file(path: str | os.PathLike[str]) -> None:
    """Raise FileRefusedError if a file of CA certificates must not be used; a library reads it, without any bound.

    A missing one is left for the library, OSError if it cannot be examined.
    """
    require_trusted_path(path, Claim.NAMED)
    # os.path.exists is False for whatever hides a file, Path.exists raises for some of it
    if (size := os.stat(path).st_size if os.path.exists(path) else 0) > LARGEST_CA_FILE:  # noqa: PTH110, PTH116
        raise FileRefusedError(path, f"has {size} bytes, expected at most {LARGEST_CA_FILE}")


def read_bounded(descriptor: int, path: str | os.PathLike[str], limit: int) -> bytes:
    """Return what is left to read from an open file; FileRefusedError beyond `limit` bytes, or if nothing comes at once."""
    size = os.fstat(descriptor).st_size
    if size > limit:
        raise FileRefusedError(path, f"has {size} bytes, expected at most {limit}")
    content = b""
    try:
        while chunk := os.read(descriptor, limit + 1 - len(content)):
            content += chunk
            if len(content) > limit:
                raise FileRefusedError(path, f"gives more than {limit} bytes, expected at most that")
    except BlockingIOError:
        raise FileRefusedError(path, "keeps its reader waiting, expected a file") from None
    return content
