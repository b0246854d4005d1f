"""Signs about a living or dead child, beside what it says itself.

* Its log ends while it lives: from then on nothing is seen of it but its endpoints.
* Its program was replaced, by a package manager for example: the running one is the old one.
* It was killed by signal 9: the control group counts those that the kernel killed for lack of memory (`memory.events`, in
  cgroup v1 `memory.oom_control`), so "out of memory" and "killed by another process" can be distinguished.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from prx.core.evidence import ChildExit
from prx.runtime.host.clock import Clock, TimerHandle

LOG_CLOSED_AFTER = 1.0  # seconds between the end of its stderr and the warning: a child that ends closes it, too
_ROOT = Path("/sys/fs/cgroup")


class LogWatch:
    """Says once, through `warn`, that a child that is `alive()` has closed its log."""

    def __init__(self, clock: Clock, alive: Callable[[], bool], warn: Callable[[str], None]) -> None:
        self._clock = clock
        self._alive = alive
        self._warn = warn
        self._timer: TimerHandle | None = None

    def closed(self, stream: str) -> None:
        """Take note that a stream of the child has ended; clients log to stderr."""
        if stream == "stderr" and self._timer is None and self._alive():
            self._timer = self._clock.call_later(LOG_CLOSED_AFTER, self._report)

    def cancel(self) -> None:
        """Forget it: the child has ended."""
        if self._timer is not None:
            self._timer.cancel()

    def _report(self) -> None:
        if self._alive():
            self._warn("the connector has closed its log and runs on: from now on prx sees only what its endpoints report")


def oom_kills(proc: Path = Path("/proc/self/cgroup"), root: Path = _ROOT) -> int | None:
    """Return how many processes of this control group the kernel has killed for lack of memory; None if that is not known."""
    try:
        lines = [line.split(":", 2) for line in proc.read_text(encoding="ascii", errors="replace").splitlines()]
    except OSError:
        return None
    for row in lines:
        if len(row) != 3:
            continue
        _, controllers, path = row
        if not controllers:
            files = [root / path.lstrip("/") / "memory.events", root / "memory.events"]
        elif "memory" in controllers.split(","):
            files = [root / "memory" / path.lstrip("/") / "memory.oom_control", root / "memory" / "memory.oom_control"]
        else:
            continue
        for file in files:
            if (count := _count(file)) is not None:
                return count
    return None


def _count(file: Path) -> int | None:
    try:
        words = dict(line.split(maxsplit=1) for line in file.read_text(encoding="ascii").splitlines())
        return int(words["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None


def explain_kill(end: ChildExit, before: int | None, after: int | None) -> ChildExit:
    """Return `end` with what the counter of the control group reports about a death by signal 9."""
    if end.signal != signal.SIGKILL or before is None or after is None:
        return end
    if after > before:
        return replace(end, detail="out of memory: the kernel killed it", hint="allow prx and its connector more memory")
    return replace(end, detail="another process killed it: its control group counts no kill for lack of memory")
