"""Whether a file is still the one that was there before."""

from __future__ import annotations

import os
import stat
from functools import lru_cache
from pathlib import Path


def content_fingerprint(facts: os.stat_result) -> tuple[int, ...]:
    """Return what no other content of a file has in common with this one; a change of its rights shows in it, too (ctime)."""
    return (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def file_fingerprint(file: str | Path) -> tuple[int, ...]:
    """Return what changes when `file` is written, replaced, or it or its folder gets other rights; empty if none is seen."""
    try:
        seen, folder = os.stat(file), os.stat(_folder_of(file))  # noqa: PTH116 - asked every other second
    except OSError:
        return ()
    return (seen.st_mode, seen.st_ino, seen.st_mtime_ns, seen.st_size, seen.st_uid, folder.st_mode, folder.st_uid)


def is_folder(fingerprint: tuple[int, ...]) -> bool:
    """Return whether what `file_fingerprint` has seen is a folder."""
    return bool(fingerprint) and stat.S_ISDIR(fingerprint[0])


@lru_cache(maxsize=256)
def _folder_of(file: str | Path) -> str:
    return os.path.dirname(file) or "."  # noqa: PTH120 - as it was given
