"""Who a process is, beyond its number: a pid is used again, a pid with its start time and boot is not.

Source of the facts: proc(5). Field 22 of /proc/PID/stat is the start time in clock ticks since boot; the process name in
field 2 may hold spaces and parentheses, so fields are counted from the last ")".
"""

from __future__ import annotations

import functools
import os
import stat
from contextlib import suppress
from pathlib import Path

from prx.core.shortage import Lack, lack_of
from prx.core.value import Value, value_class

_DELETED = " (deleted)"
_DEAD = frozenset({"Z", "X"})  # zombie, dead: states in proc(5)


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Identity(Value):
    """Name one process forever: `start_time` in clock ticks since boot, `exe` the file it runs ("" when unknown)."""

    pid: int
    start_time: int
    boot_id: str
    exe: str = ""


@value_class(frozen=True, slots=True, eq=False, repr=False)
class ProcessStat(Value):
    """Hold the few fields of /proc/PID/stat that prx needs."""

    state: str
    parent: int
    group: int
    session: int
    start_time: int


def boot_id() -> str:
    """Return the kernel's name for this boot; "" if the system has none."""
    try:
        return _read_boot_id()
    except OSError:
        return ""


@functools.cache  # what is raised is not kept
def _read_boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def process_stat(pid: int) -> ProcessStat | None:
    """Read the state of a process; None when there is no such process (or no /proc)."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123 - for each start and look; 40 µs less
            text = file.read()
        fields = text[text.rindex(b")") + 2 :].split()
        return ProcessStat(fields[0].decode("ascii"), int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))
    except (OSError, ValueError, IndexError):
        return None


def running_file(pid: int) -> str:
    """Return the path of the file that a process runs; "" when it cannot be seen."""
    try:
        return os.readlink(f"/proc/{pid}/exe").removesuffix(_DELETED)  # noqa: PTH115 - a magic link, kept as text
    except OSError:
        return ""


def identify(pid: int, exe: str = "") -> Identity:
    """Take the identity of a process that is certainly there (a child not yet collected)."""
    found = process_stat(pid)
    return Identity(pid, found.start_time if found else 0, boot_id(), exe)


def is_alive(identity: Identity) -> bool:
    """Return whether exactly this process runs now: same boot, pid, start time and, if known, same file.

    A zombie does not run. Hold a pidfd, opened before the question, to act on the answer without a race.
    """
    if not identity.start_time or not identity.boot_id or identity.boot_id != boot_id():
        return False
    found = process_stat(identity.pid)
    if found is None or found.state in _DEAD or found.start_time != identity.start_time:
        return False
    return not identity.exe or running_file(identity.pid) in {"", identity.exe}


def _all_pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 - names only, fast
    except OSError:
        return []


def process_lack() -> Lack | None:
    """Return what keeps /proc from being read for now, so that "no such process" means nothing; None if nothing does."""
    try:
        open("/proc/self/stat", "rb", buffering=0).close()  # noqa: PTH123 - as above
    except OSError as error:
        return lack_of(error)
    return None


def processes_are_seen() -> bool:
    """Return whether /proc shows this process: if it does not, "no such process" means nothing."""
    return process_stat(os.getpid()) is not None


def group_members(group: int) -> list[int]:
    """List the live processes of a process group, without its leader."""
    others = ((pid, process_stat(pid)) for pid in _all_pids() if pid != group)
    return [pid for pid, seen in others if seen and seen.group == group and seen.state not in _DEAD]


def descendants(pid: int) -> list[int] | None:
    """List the live processes that descend from `pid`, parents first; None if the kernel does not list children.

    A few small reads (/proc/PID/task/TID/children); `group_members` reads about every process of the machine.
    """
    children = _children(pid)
    if children is None:
        return None
    found = []
    for child in children:
        seen = process_stat(child)
        if seen is not None and seen.state not in _DEAD:
            found += [child, *(descendants(child) or [])]
    return found


def _children(pid: int) -> list[int] | None:
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - names only, fast
            found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return None
    return found


def child_pids() -> list[int]:
    """List the children of this process, zombies too."""
    own = os.getpid()
    found = _children(own)
    return found if found is not None else [pid for pid in _all_pids() if (seen := process_stat(pid)) and seen.parent == own]


def command_line(pid: int) -> tuple[str, ...]:
    """Return the arguments of a process; empty if they cannot be seen."""
    try:
        return tuple(map(os.fsdecode, Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]))
    except OSError:
        return ()


def writers_of_pipe(inode: int) -> list[int]:
    """List the processes, other than this one, that can write into the pipe with this inode number.

    Only processes of the same user can be inspected; those of others cannot have inherited the pipe unless they
    changed user on purpose.
    """
    own = os.getpid()
    return [pid for pid in _all_pids() if pid != own and writes_pipe(pid, inode)]


def writes_pipe(pid: int, inode: int) -> bool:
    """Return whether a process has the write end of a pipe open (proc(5): the mode of /proc/PID/fd/N says which end)."""
    wanted = f"pipe:[{inode}]"
    folder = f"/proc/{pid}/fd"
    with suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208 - names only, fast
            link = f"{folder}/{name}"
            with suppress(OSError):
                if os.readlink(link) == wanted and os.lstat(link).st_mode & stat.S_IWUSR:  # noqa: PTH115 - magic link
                    return True
    return False
