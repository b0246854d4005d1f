"""Keep what the start of a long run needed from staying in memory until its end.

Both calls are glibc's (mallopt(3), malloc_trim(3)); with another C library nothing is done.
"""

from __future__ import annotations

import ctypes
import gc

_M_ARENA_MAX = -8  # malloc.h


def use_one_arena() -> None:
    """Let all threads share one arena. Python holds its own lock while it allocates, so one more each gains nothing."""
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return memory that is free to the system: what was read, parsed and dropped on the way up. Takes some milliseconds."""
    gc.collect()
    if (malloc_trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        malloc_trim(0)
