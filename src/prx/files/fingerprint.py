"""Whether a file is still the one that was there before."""

from __future__ import annotations

import os
from pathlib import Path


def content_fingerprint(facts: os.stat_result) -> tuple[int, ...]:
    """Return what no other content of a file has in common with this one; a change of its rights shows in it, too (ctime)."""
    return (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def file_fingerprint(file: str | Path) -> tuple[int, ...]:
    """Return what changes when `file` is written, replaced, or it or its folder gets other rights; empty if none is seen."""
    try:
        stat, folder = os.stat(file), os.stat(os.path.dirname(file) or ".")  # noqa: PTH116, PTH120 - asked every other second
    except OSError:
        return ()
    return (stat.st_ino, stat.st_mtime_ns, stat.st_size, stat.st_mode, stat.st_uid, folder.st_mode, folder.st_uid)
