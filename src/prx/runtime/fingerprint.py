"""Tell whether a file is still the one that was there before."""

from __future__ import annotations

from pathlib import Path


def file_fingerprint(file: str | Path) -> tuple[int, ...]:
    """Return what changes when `file` is written, replaced, or gets other rights; empty where none can be seen."""
    try:
        stat = Path(file).stat()
    except OSError:
        return ()
    return (stat.st_ino, stat.st_mtime_ns, stat.st_size, stat.st_mode)
