"""A current folder that the Cap'n Proto library can open: without one it aborts the whole process when it is imported."""

from __future__ import annotations

import os

_PATH_ONLY = getattr(os, "O_PATH", os.O_RDONLY)


def leave_unusable_folder() -> None:
    """Change into / if the current folder is gone, or closed to us: no relative path leads anywhere from there."""
    try:
        os.close(os.open(os.getcwd(), _PATH_ONLY | os.O_DIRECTORY | os.O_CLOEXEC))  # noqa: PTH109 - the text is what is opened
        os.close(os.open(".", _PATH_ONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError:
        os.chdir("/")
        os.environ["PWD"] = "/"  # noqa: S105 - a folder, no password; the library compares the two, and warns
