"""What the Cap'n Proto library needs to be loaded; if the machine refuses it, the library aborts the whole process."""

from __future__ import annotations

import mmap
import os
from contextlib import ExitStack
from pathlib import Path

FILES = 16  # it has up to 6 open at once while it reads the schemas, and the loader of modules some more
MEMORY = 32 << 20  # bytes of address space; it and `cryptography`, which aborts as well, take some 25 MiB


def require_room() -> None:
    """Raise OSError if a few files cannot be opened now, or a few MiB not be had; all of it is given back."""
    with ExitStack() as stack:
        for _ in range(FILES):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        mmap.mmap(-1, MEMORY).close()


def require_files(*files: Path) -> None:
    """Raise OSError if one of `files` cannot be read."""
    for file in files:
        with file.open("rb"):
            pass
