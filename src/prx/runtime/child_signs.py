"""Signs about a living or dead child, beside what it says itself.

* Its log ends while it lives: from then on nothing is seen of it but its endpoints.
* Its program was replaced, by a package manager for example: the running one is the old one.
* It was killed by signal 9: the control group counts those that the kernel killed for lack of memory (`memory.events`, in
  cgroup v1 `memory.oom_control`), so "out of memory" and "killed by another process" can be distinguished.
"""

from __future__ import annotations

import functools
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
        groups = _read(proc)
    except OSError:
        return None
    return next((count for file in _counters(groups, root) if (count := _count(file)) is not None), None)


@functools.lru_cache(maxsize=4)  # hundreds of starts ask in a row, and prx stays in its group
def _counters(groups: bytes, root: Path) -> tuple[Path, ...]:
    """Return the files that may hold the counter, by the text of /proc/self/cgroup (cgroups(7))."""
    files: list[Path] = []
    for row in (line.split(":", 2) for line in groups.decode("ascii", "replace").splitlines()):
        if len(row) != 3:
            continue
        _, controllers, path = row
        if not controllers:
            files += [root / path.lstrip("/") / "memory.events", root / "memory.events"]
        elif "memory" in controllers.split(","):
            files += [root / "memory" / path.lstrip("/") / "memory.oom_control", root / "memory" / "memory.oom_control"]
    return tuple(files)


def _count(file: Path) -> int | None:
    try:
        words = dict(line.split(maxsplit=1) for line in _read(file).splitlines())
        return int(words[b"oom_kill"])
    except (OSError, ValueError, KeyError):
        return None


def _read(file: Path) -> bytes:
    with open(file, "rb", buffering=0) as opened:  # noqa: PTH123 - for each start; a text would take three times as long
        return opened.read()


def explain_kill(end: ChildExit, before: int | None, after: int | None) -> ChildExit:
    """Return `end` with what the counter of the control group reports about a death by signal 9."""
    if end.signal != signal.SIGKILL or before is None or after is None:
        return end
    if after > before:
        return replace(end, detail="out of memory: the kernel killed it", hint="allow prx and its connector more memory")
    return replace(end, detail="another process killed it: its control group counts no kill for lack of memory")
