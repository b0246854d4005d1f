"""Keep other programs of the same user out of the memory of prx, which holds the tunnel's token."""

from __future__ import annotations

import ctypes
import sys

_PR_SET_DUMPABLE = 4  # prctl(2)


def forbid_dumps() -> None:
    """Forbid core dumps and ptrace of this process (Linux; elsewhere nothing is done). Children that exec are not affected."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
