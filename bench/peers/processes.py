"""What processes cost and which there are, from /proc; and a wait with an end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that still run."""
    found: list[int] = []
    with suppress(OSError):  # it, or one of its threads, has just ended
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - quick
            found += map(int, _read(pid, f"task/{task}/children").split())
    return found


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    return [pid, *(one for child in children(pid) for one in family(child))]


def spent(pids: Iterable[int]) -> float:
    """Return the CPU seconds that the living threads of processes have used, to the nanosecond (sched-stats)."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - quick
                total += int((_read(pid, f"task/{task}/schedstat").split() or ["0"])[0])
    return total / 1e9


def resident(pids: Iterable[int]) -> float:
    """Return the resident memory of processes in MiB; what several share is counted for each."""
    return sum(int(words[1]) * PAGE for pid in pids if (words := _read(pid, "statm").split())) / 2**20


def words_of(pid: int) -> str:
    """Return the command line of a process."""
    return _read(pid, "cmdline").replace("\0", " ")


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""


def until(reached: Callable[[], bool], *, within: float = 90.0, every: float = 0.002, what: str = "it") -> float:
    """Wait until `reached()`, and return the seconds that it took; RuntimeError if it takes too long."""
    began = time.perf_counter()
    while not reached():
        if time.perf_counter() - began > within:
            raise RuntimeError(f"{what} did not happen within {within:g} s")
        time.sleep(every)
    return time.perf_counter() - began
