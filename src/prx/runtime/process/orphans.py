"""Find and end the children that an earlier prx left behind, and no other process.

The kernel ends a child with prx, but not always: a setuid or file-capability program clears that order, other systems than
Linux have none, and a kill in the first millisecond comes before it. So every child is written into a ledger as soon as
it is there. The next start opens a pidfd for each entry, *then* compares boot, start time and file with the entry, and
signals through the pidfd: a pid that was given to a stranger is never touched, not even in a race.

The ledger has the leader's identity only. Members of its group that outlived it cannot be proven to be ours any more
and are left alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from prx.core.errors import ShortageError, shortage
from prx.core.shortage import lack_in, lack_of
from prx.core.value import Value, value_class
from prx.runtime.host.statefile import StateFile
from prx.runtime.process.identity import Identity, group_members, is_alive, process_lack

GRACE_SECONDS = 5.0
"""How long a stale child may take to end by itself; its edge connections are unregistered in this time."""

SOON = 0.1  # seconds

logger = logging.getLogger(__name__)


class ChildLedger:
    """Remember the living children in a file, from start to end of each. `label` names the tunnel, for people.

    A single change is written at once; many at once are one write, `SOON` seconds later, because each writes the whole list.
    """

    def __init__(self, path: Path) -> None:
        self._file = StateFile(path, durable=False)  # another boot makes its entries worthless anyway
        self._children: dict[Identity, str] = {}  # the name of the tunnel of each
        self._written_at = float("-inf")
        self._writing: asyncio.TimerHandle | None = None

    @property
    def living(self) -> int:
        """How many children live."""
        return len(self._children)

    def add(self, child: Identity, label: str) -> bool:
        """Write a fresh child down; False if the disk refused (it is remembered, and written when it can be)."""
        self._children[child] = label
        return self._save()

    def remove(self, child: Identity) -> bool:
        """Forget a child that has ended; harmless for an unknown one."""
        self._children.pop(child, None)
        return self._save()

    def retry(self) -> bool:
        """Write again what a full disk refused."""
        return self._file.retry()

    def _save(self) -> bool:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self._write()
        if not self._children or loop.time() - self._written_at >= SOON:
            return self._write(loop.time())
        if self._writing is None:
            self._writing = loop.call_later(SOON, lambda: self._write(loop.time()))
        return not self._file.pending

    def _write(self, now: float = float("-inf")) -> bool:
        self._written_at = now
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        return self._file.save({"children": [_entry(*item) for item in self._children.items()]})


def _entry(child: Identity, label: str) -> dict[str, Any]:
    """Return what stands for a child in the file; `dataclasses.asdict` would take 20 times as long, for each of hundreds."""
    where = {"pid": child.pid, "start_time": child.start_time, "boot_id": child.boot_id, "exe": child.exe}
    return {**where, "tunnel": label}


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Orphan(Value):
    """A child of an earlier prx that was found alive and ended; `killed` when it did not obey SIGTERM in time."""

    identity: Identity
    label: str
    killed: bool


async def reap_stale(path: Path, *, grace: float = GRACE_SECONDS) -> list[Orphan]:
    """End every living child in the ledger at `path` and empty it; takes at most `grace` seconds and a moment.

    Call it while holding the instance lock, before the first spawn. A ledger that is missing, garbage, of another boot or a
    symbolic link names none, with a warning if that is odd. Never raises for what is in the file. ShortageError if it cannot be
    read for now, or its processes cannot be seen: what it names would be forgotten, and live on.
    """
    file = StateFile(path)
    data = file.load()
    if file.unread:
        lack = lack_in(file.unreadable)
        raise ShortageError(f"{path} cannot be read: {file.unreadable.lower()}", hint=lack.hint if lack else "")
    with ExitStack() as open_fds:
        found = [
            (child, label, open_fds.enter_context(_owned(pidfd)))
            for child, label in _entries(data)
            if (pidfd := _open_if_same(child)) is not None
        ]
        for child, _, pidfd in found:
            logger.warning("ending process %d, left behind by an earlier prx", child.pid)
            _signal(pidfd, signal.SIGTERM)
            _signal(pidfd, signal.SIGCONT)
        # a leader's group is looked up while it lives, so that it cannot be mistaken for a later one
        members = [open_fds.enter_context(_owned(fd)) for child, _, _ in found for fd in _open_group(child.pid)]
        late = await _wait_all([pidfd for *_, pidfd in found], grace)
        for pidfd in [*late, *members]:
            _signal(pidfd, signal.SIGKILL)
        await _wait_all(late, grace)
    if file.data:
        file.save({"children": []})
    return [Orphan(child, label, pidfd in late) for child, label, pidfd in found]


def _entries(data: dict[str, Any]) -> Iterator[tuple[Identity, str]]:
    children = data.get("children", [])
    for entry in children if isinstance(children, list) else []:
        match entry:
            case {"pid": int(pid), "start_time": int(start), "boot_id": str(boot), "exe": str(exe), "tunnel": str(label)}:
                if pid > 1 and pid != os.getpid():
                    yield Identity(pid, start, boot, exe), label
            case _:
                logger.warning("an entry of the list of children is ignored: expected pid, start_time, boot_id, exe, tunnel")


def _open_if_same(child: Identity) -> int | None:
    try:
        pidfd = os.pidfd_open(child.pid)
    except (OSError, AttributeError, OverflowError) as error:
        if lack := lack_of(error):
            raise shortage(lack) from error
        return None
    if is_alive(child):
        return pidfd
    lack = process_lack()
    os.close(pidfd)
    if lack:
        raise shortage(lack)
    return None


def _open_group(leader: int) -> Iterator[int]:
    for pid in group_members(leader):
        with suppress(OSError):
            yield os.pidfd_open(pid)


@contextmanager
def _owned(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


def _signal(pidfd: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        signal.pidfd_send_signal(pidfd, number)


async def _wait_all(pidfds: list[int], seconds: float) -> list[int]:
    """Wait until all of these processes have ended; return those that have not after `seconds`."""
    loop = asyncio.get_running_loop()
    running = set(pidfds)
    all_ended = asyncio.Event()

    def ended(pidfd: int) -> None:
        loop.remove_reader(pidfd)
        running.discard(pidfd)
        if not running:
            all_ended.set()

    for pidfd in pidfds:
        loop.add_reader(pidfd, ended, pidfd)
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await (all_ended.wait() if running else asyncio.sleep(0))
    for pidfd in running:
        loop.remove_reader(pidfd)
    return [pidfd for pidfd in pidfds if pidfd in running]
