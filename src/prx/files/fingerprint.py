"""Whether a file is still the one that was there before."""

from __future__ import annotations

from pathlib import Path


def file_fingerprint(file: str | Path) -> tuple[int, ...]:
    """Return what changes when `file` is written, replaced, or it or its folder gets other rights; empty if none is seen."""
    try:
        stat, folder = Path(file).stat(), Path(file).parent.stat()
    except OSError:
        return ()
    return (stat.st_ino, stat.st_mtime_ns, stat.st_size, stat.st_mode, stat.st_uid, folder.st_mode, folder.st_uid)
