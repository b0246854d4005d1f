"""Keep what the start of a long run needed from staying in memory until its end, and from being traversed again and again.

The calls for memory are glibc's (mallopt(3), malloc_trim(3)), and Linux's (madvise(2), /proc/self/smaps); elsewhere nothing is
done.

Python's collector of cycles traverses every object each time it collects the oldest generation, and nothing else runs
meanwhile: a third of a second with the modules of prx and a few hundred tunnels. What has come up stays until the end, so it is
set aside; so is what is left after a collection that took long, because hundreds of tunnels may never all be up. What can be
dropped of it is looked for once all is up, when no user waits for a URL.
"""

from __future__ import annotations

import functools
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LONG_PAUSE = 0.02  # seconds of processor time
FEW = 100_000  # objects, which a collection traverses in some 10 ms; those of 1,000 tunnels take up to half a second
AT_MOST = 16  # cycles of what was set aside are found by a thorough return alone when it is dropped later: this bounds them
_M_ARENA_MAX = -8  # malloc.h
_OLDEST = 2
_MADV_DONTNEED = 4  # asm-generic/mman-common.h; `mmap`, which knows it as well, is one more library to load
# A part of a file that cannot be written, its path, its sizes, and whether another part of the same file follows.
_PART = rb"(?m)^([0-9a-f]+)-([0-9a-f]+) r-[x-]p \S+ (\S+ [1-9]\d*) +(.*)\n((?:[A-Z].*\n)+)(?=(\S+ \S+ \S+ \3 )?)"
_DATA = b"/locale/"  # in the path of what is no library
# Of such a part (proc(5)): something is in memory, which an emulated Linux (qemu-user) may not count, and nothing differs from
# the file. The linker writes into some parts before it locks them; what was written may be in the swap by now.
_IN_MEMORY = rb"(?m)^Rss: +[1-9]"
_OWN_PAGES = rb"(?m)^(?:Anonymous|Private_Hugetlb|Swap): +(\d+) kB$"


def use_one_arena() -> None:
    """Have all threads share one arena. Python holds its own lock while it allocates, so one more each gains nothing."""
    if (mallopt := _of_c_library("mallopt")) is not None:
        mallopt(_M_ARENA_MAX, 1)


def return_free_memory() -> None:
    """Return to the system what the way up alone needed: what was read and dropped, and code. Takes some milliseconds."""
    return_heap()
    return_code()


def return_heap(*, thorough: bool = False) -> None:
    """Return memory that no object needs: of cycles that nothing refers to, and below the end of the C library's heap.

    thorough: also of cycles among what was set aside, and is set aside again, unless that is more than `FEW` objects.
    """
    thorough = thorough and gc.get_freeze_count() <= FEW
    if thorough:
        gc.unfreeze()
    gc.collect()
    if thorough:
        freeze_objects()
    if (malloc_trim := _of_c_library("malloc_trim")) is not None:
        malloc_trim(0)


def return_code() -> None:
    """Return the pages of libraries that are as their files: what runs again is mapped again, from the system's cache.

    Of 13 MiB, about half is needed again: much of a library runs only while it is loaded.
    """
    import ctypes
    from pathlib import Path

    if (madvise := _of_c_library("madvise")) is None:
        return
    try:
        maps = Path("/proc/self/smaps").read_bytes()
    except OSError:  # not Linux, or without /proc
        return
    for begin, end in unchanged(maps):
        madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), _MADV_DONTNEED)


def unchanged(maps: bytes) -> Iterator[tuple[int, int]]:
    """Yield where the parts of files begin and end that may be dropped, by `maps`, the text of /proc/self/smaps.

    Not the last part of a library, which another thread may be loading this moment: the linker maps it as a whole, and lays the
    parts over it that it writes into.
    """
    import re

    for begin, end, _, path, sizes, follower in re.findall(_PART, maps):
        if not follower and _DATA not in path:
            continue
        if re.search(_IN_MEMORY, sizes) and re.findall(_OWN_PAGES, sizes) == [b"0", b"0", b"0"]:
            yield int(begin, 16), int(end, 16)


@functools.cache  # to look it up again maps up to 0.4 MiB of the linker's code and tables again, which were returned
def _of_c_library(name: str) -> Callable[..., int] | None:
    """Return a function of the C library; None if it has none of that name."""
    import ctypes  # a short command does without

    found: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None)
    return found


def freeze_objects() -> None:
    """Keep the collector of cycles from traversing what exists now again; what is dropped of it is freed as always."""
    gc.freeze()


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep the collector from running within the block, which imports modules, and set aside what the block has made.

    Modules stay until the end; to traverse them meanwhile, 75 times, is a twentieth of a start. What they drop is looked for
    once: a class with slots is made from one without, which is a cycle, and 160 of these are half a MiB. Blocks may be nested.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.collect(0)
            freeze_objects()
            gc.enable()


@contextmanager
def short_pauses() -> Iterator[None]:
    """Set aside, within the block, what outlives a collection of the oldest generation that took long, `AT_MOST` times."""
    began, times = 0.0, 0

    def see(phase: str, info: dict[str, int]) -> None:
        nonlocal began, times
        if info["generation"] != _OLDEST or times >= AT_MOST:
            return
        if phase == "start":
            began = time.thread_time()
        elif time.thread_time() - began >= LONG_PAUSE:
            times += 1
            gc.freeze()

    gc.callbacks.append(see)
    try:
        yield
    finally:
        gc.callbacks.remove(see)
