"""Keep what the start of a long run needed from staying in memory until its end, and from being traversed again and again.

The calls for memory are glibc's (mallopt(3), malloc_trim(3)); with another C library nothing is done.

Python's collector of cycles traverses every object each time it collects the oldest generation, and nothing else runs
meanwhile: a third of a second with the modules of prx and a few hundred tunnels. What has come up stays until the end, so it is
set aside.
"""

from __future__ import annotations

import ctypes
import gc

_M_ARENA_MAX = -8  # malloc.h


def use_one_arena() -> None:
    """Have all threads share one arena. Python holds its own lock while it allocates, so one more each gains nothing."""
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return memory that is free to the system: what was read, parsed and dropped on the way up. Takes some milliseconds."""
    set_aside()
    if (malloc_trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        malloc_trim(0)


def set_aside() -> None:
    """Keep the collector of cycles from traversing what exists now again; what is dropped of it is freed as ever."""
    gc.collect()
    gc.freeze()
