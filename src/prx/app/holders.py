"""Who needs this prx: it was started by a program (`prx start --held`), and ends when the last one that uses it has gone.

Theory of operation. A *holder* is a connection of the control socket, the pipe on stdin of the program that started prx, or a
process that is watched. The kernel reports the end of each, also after `kill -9`, and no descriptor of prx is in the hands of
children of these programs. When the last one has gone, `on_last` is called once; from then on no other is accepted.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from contextlib import suppress

from prx.core.errors import PrxError

_STDIN = 0
_SOME_BYTES = 4096


class Hold:
    """One reason to keep running; `keep` is in seconds, from its release on."""

    def __init__(self, holders: Holders, keep: float = 0.0) -> None:
        self._holders: Holders | None = holders
        self._keep = keep

    def release(self) -> bool:
        """Take the reason away; return whether prx ends because it was the last. Harmless when repeated."""
        holders, self._holders = self._holders, None
        return holders is not None and holders.drop(self, self._keep)


class FreeHold:
    """The hold of a prx that runs until an operator stops it: it keeps nothing."""

    def release(self) -> bool:
        """Return False: prx runs on."""
        return False


class Holders:
    """Those that need this prx, from `watch_stdin` on; to be used on the running loop, and closed."""

    def __init__(self, on_last: Callable[[], None]) -> None:
        self._on_last = on_last
        self._holds: set[Hold] = set()
        self._watched: dict[int, int] = {}  # pid → pidfd
        self._lingering: dict[Hold, asyncio.TimerHandle] = {}  # those that were released, and the end of their time
        self._over = False

    def hold(self, *, keep: float = 0.0, also: Iterable[int] = ()) -> Hold:
        """Add a hold, and one for each process in `also` that lives. Raises PrxError (`stopping`) after the last has gone."""
        if self._over:
            raise stopping()
        held = Hold(self, keep)
        self._holds.add(held)
        for pid in also:
            self._watch(pid)
        return held

    def watch_stdin(self) -> None:
        """Hold until stdin ends; what it says is of no interest."""
        held = self.hold()
        loop = asyncio.get_running_loop()

        def see() -> None:
            with suppress(BlockingIOError):
                try:
                    ended = not os.read(_STDIN, _SOME_BYTES)
                except OSError:
                    ended = True
                if ended:
                    loop.remove_reader(_STDIN)
                    held.release()

        try:
            loop.add_reader(_STDIN, see)
        except OSError:  # a file or /dev/null: epoll_ctl(2) gives EPERM, and there is nothing to wait for
            held.release()

    def drop(self, held: Hold, keep: float) -> bool:
        """Take a hold away, or let it linger for `keep` seconds; return whether it was the last."""
        if keep > 0 and not self._over:
            self._lingering[held] = asyncio.get_running_loop().call_later(keep, self._linger_is_over, held)
            return False
        self._holds.discard(held)
        if self._holds or self._over:
            return False
        self._over = True
        self._on_last()
        return True

    def close(self) -> None:
        """Watch nothing any more."""
        self._over = True
        loop = asyncio.get_running_loop()
        for pidfd in self._watched.values():
            loop.remove_reader(pidfd)
            os.close(pidfd)
        self._watched.clear()
        for handle in self._lingering.values():
            handle.cancel()
        with suppress(OSError, ValueError):
            loop.remove_reader(_STDIN)

    def _linger_is_over(self, held: Hold) -> None:
        del self._lingering[held]
        self.drop(held, 0.0)

    def _watch(self, pid: int) -> None:
        """Hold until the process `pid` ends; one that is gone, or a system without pidfd_open(2), holds nothing."""
        if pid in self._watched:
            return
        with suppress(OSError, AttributeError):
            pidfd = os.pidfd_open(pid)
            held = self.hold()
            self._watched[pid] = pidfd
            asyncio.get_running_loop().add_reader(pidfd, self._process_ended, pid, held)

    def _process_ended(self, pid: int, held: Hold) -> None:
        pidfd = self._watched.pop(pid)
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        held.release()


def stopping() -> PrxError:
    """Return the error that a prx that is about to end refuses with."""
    return PrxError("prx is stopping", hint="try again in a moment", code="stopping")
