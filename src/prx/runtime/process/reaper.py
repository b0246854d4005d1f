"""As PID 1, collect the orphans that the kernel hands to prx, and no other children.

In a container without an init of its own prx is PID 1, so the end of every process whose parent is gone is left for it to
collect; what is not collected stays a zombie and holds its pid. An orphan cannot be distinguished from a child that another
part of prx started and is about to collect, but by time: such a part waits and collects at once. So a zombie is collected when
it has been one for `AFTER` seconds, and never one that `prx.runtime.process.child` knows.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Collection
from contextlib import suppress
from types import TracebackType

from prx.runtime.process.identity import child_pids, process_stat

SOON = 0.1  # seconds from SIGCHLD to the first check
AFTER = 1.0  # seconds


class OrphanReaper:
    """Collect orphans while the `with` block lasts, on the running loop of the main thread; idle if prx is not PID 1."""

    def __init__(self, ours: Collection[int], *, is_init: bool | None = None) -> None:
        self._ours = ours
        self._is_init = os.getpid() == 1 if is_init is None else is_init
        self._seen: dict[int, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.collected = 0

    def __enter__(self) -> OrphanReaper:
        if self._is_init:
            self._loop = asyncio.get_running_loop()
            self._loop.add_signal_handler(signal.SIGCHLD, self._soon)
            self._soon()  # for those that came before
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._is_init:
            self._loop.remove_signal_handler(signal.SIGCHLD)
            if self._timer is not None:
                self._timer.cancel()

    def _soon(self) -> None:
        self._again(SOON, self._look)

    def _again(self, delay: float, what: Callable[[], None]) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(delay, what)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        zombies = {pid for pid in child_pids() if pid not in self._ours and _is_zombie(pid)}
        self._seen = {pid: self._seen.get(pid, now) for pid in zombies}
        for pid, since in list(self._seen.items()):
            if now - since >= AFTER:
                self._collect(pid)
        if self._seen:
            self._again(AFTER / 2, self._look)

    def _collect(self, pid: int) -> None:
        del self._seen[pid]
        with suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0]:
                self.collected += 1


def _is_zombie(pid: int) -> bool:
    seen = process_stat(pid)
    return seen is not None and seen.state == "Z"
