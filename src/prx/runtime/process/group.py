"""Everything that one child started: who is asked to end, in which order, and who is still there.

Theory of operation
-------------------
The child leads a process group of its own, and is often not the program that matters: a shell script or npm's shim in front
of a tunnel client, `npm run dev` in front of a server. Two rules, one for each use:

* `Group.everyone` (a service): all are asked at once, as the terminal's Ctrl-C would do it.
* `Group.client_first` (a connector): the program at the end of the chain, which has been given our arguments, is asked alone
  and once: a client may die of a second SIGTERM, so a wrapper that passes the signal on must not get one, too. When the client
  has ended its wrappers have `WRAPPER_SECONDS` to follow, then they are asked. A pipe behind it (`| tee log`) is not
  ended before it.

The leader is signalled by its number only while it is not collected, the others through a pidfd if there can be one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from prx.runtime.process.identity import (
    command_line,
    descendants,
    group_members,
    process_stat,
    processes_are_seen,
    running_file,
)

WRAPPER_SECONDS = 1.0
_NOBODY: frozenset[int] = frozenset()  # one for all: another is made by each call


class Group:
    """The process group that `leader` leads. `arguments` are what the client was given, behind its program's name.

    `client`: a part of the name of the client's program, by which it is found if a wrapper has changed its arguments.
    """

    def __init__(
        self, leader: int, arguments: tuple[str, ...], client: str, *, wrapped: bool, now: Callable[[], float]
    ) -> None:
        self._leader = leader
        self._arguments = arguments
        self._client = client
        self._wrapped = wrapped  # the leader is a script, or has started processes
        self._now = now
        self._asked = _NOBODY
        self._asked_all = False
        self._clients = _NOBODY
        self._clients_gone_at: float | None = None

    def ask_everyone(self) -> None:
        """Ask the whole group to end; those that came since the last time if this is repeated."""
        self._wrapped = True
        others = self.others()
        if self._asked_all and others is not None:
            self._ask(pid for pid in others if pid not in self._asked)
        elif not self._asked_all:
            self._asked_all = True
            self._asked |= {self._leader, *(others or [])}
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._leader, signal.SIGTERM)
                os.killpg(self._leader, signal.SIGCONT)

    def ask_client_first(self, *, leader_lives: bool) -> None:
        """Ask the client, or when it is gone its wrappers; to be repeated until none is left."""
        if not self._asked:
            self._clients = self._find_clients()
            self._ask(self._clients or {self._leader})
        elif not self._clients:  # the leader was asked: when it is gone it is the others' turn
            if not leader_lives:
                self.ask_everyone()
        elif not any(_is_alive(pid) for pid in self._clients):
            self._ask_wrappers(leader_lives=leader_lives)

    def _ask_wrappers(self, *, leader_lives: bool) -> None:
        if self._clients_gone_at is None:
            self._clients_gone_at = self._now()
        if not leader_lives or self._now() - self._clients_gone_at >= WRAPPER_SECONDS:
            everyone = {*(self.others() or []), *([self._leader] if leader_lives else [])}
            self._ask(everyone - self._asked)

    def others(self) -> list[int] | None:
        """List the live members of the group without the leader; None if this system does not show processes."""
        return group_members(self._leader) if processes_are_seen() else None

    def _find_clients(self) -> frozenset[int]:
        """Return the processes that got our arguments and passed them to no other; empty if the leader is the client."""
        below = descendants(self._leader)
        if below is None and self._wrapped:
            below = self.others()
        if not below:
            return _NOBODY
        self._wrapped = True
        likely = [pid for pid in below if _holds(command_line(pid), self._arguments)]
        if not likely and self._client:
            likely = [pid for pid in below if self._client in Path(running_file(pid)).name]
        parents = {seen.parent for pid in likely if (seen := process_stat(pid))}
        return frozenset(pid for pid in likely if pid not in parents)

    def _ask(self, pids: Iterable[int]) -> None:
        for pid in list(pids):
            self._asked |= {pid}
            for number in (signal.SIGTERM, signal.SIGCONT):
                self._signal(pid, number)

    def _signal(self, pid: int, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if pid == self._leader:
                os.kill(pid, number)  # not collected yet, so the pid is still its own
            elif (handle := _open(pid)) is None:
                os.kill(pid, number)  # no descriptor is left, or no pidfd here: seen a moment ago is the best there is
            else:
                try:
                    signal.pidfd_send_signal(handle, number)
                finally:
                    os.close(handle)


def _open(pid: int) -> int | None:
    """Return a pidfd; None if there can be none. Raises ProcessLookupError."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except (AttributeError, OSError):
        return None


def _holds(words: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Return whether `wanted` stands in `words` as it is; also if the wrapper has put something before or behind it."""
    size = len(wanted)
    return size > 0 and any(words[at : at + size] == wanted for at in range(len(words) - size + 1))


def _is_alive(pid: int) -> bool:
    seen = process_stat(pid)
    return seen is not None and seen.state not in {"Z", "X"}
