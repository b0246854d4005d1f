"""What must hold of this process before it begins: nobody reads its memory, and it stands somewhere."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

from prx.core.errors import UsageError

_PR_SET_DUMPABLE = 4  # prctl(2)


def forbid_dumps() -> None:
    """Forbid core dumps and ptrace of this process (Linux; elsewhere nothing is done). Children that exec are not affected."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def require_folder() -> None:
    """Raise UsageError where the current folder is gone: the Cap'n Proto library would abort the whole process."""
    try:
        Path.cwd()
    except OSError:
        raise UsageError("the current folder does not exist any more", hint="change into another one: cd ~") from None
