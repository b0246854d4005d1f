"""Whether something lies at a path. A folder that may not be searched is no answer to that.

`os.path.lexists` and `Path.glob` take "permission denied" for "not there". A caller that believes them says that nothing is
kept where something is, or goes on without the settings in it.
"""

from __future__ import annotations

import os
from pathlib import Path


def is_there(path: Path) -> bool:
    """Return whether anything lies at `path`, be it a link that leads nowhere. Raises OSError if that cannot be known."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def is_file(path: Path) -> bool:
    """Return whether a regular file lies at `path`, as far as this user may look: for what only this user would read."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises for a folder that may not be searched


def files_in(folder: Path, suffix: str) -> list[Path]:
    """Return what lies in `folder` and ends in `suffix`; empty if there is none. Raises OSError if that cannot be known."""
    try:
        return [folder / name for name in os.listdir(folder) if name.endswith(suffix)]  # noqa: PTH208 - names only
    except (FileNotFoundError, NotADirectoryError):
        return []
