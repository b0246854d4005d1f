"""Run one child process properly: its whole life, from start to the last byte and the last descendant.

Theory of operation
-------------------
`TunnelProcess.spawn` starts the child (`prx.runtime.spawn`), and from then on three descriptors in the event loop do
everything: two pipes, drained for life (`prx.runtime.drain`), and a pidfd, which becomes readable when the child ends.

Exit is noticed by the pidfd alone (156 µs, no polling, immune to a pid used again). It is never tied to the end of a
pipe: a grandchild that inherited stderr can hold that open for days. At exit, in this order:

1. The child is a zombie, so its pid and group number cannot be given to anybody else: SIGKILL to the group reaches
   exactly what the child left behind in it.
2. The zombie is collected.
3. What the child wrote is in the pipes already, so reading at most one pipe's capacity from each, without waiting, gets
   the last line of a crash.
4. A pipe that has not ended then is still held by somebody: a group member that is just dying, or a descendant that left
   the session (`setsid`, double fork). Whoever has exactly this pipe open is found in /proc and killed.
5. The pipes are closed, `wait` returns.

Not reached by this: a descendant that left the session *and* closed both pipes. PR_SET_CHILD_SUBREAPER would hand it to
prx, but for the whole process: prx would inherit, and have to tell apart, the orphans of everything else it ever
starts, in a host program too when used as a library. cloudflared starts no processes, and under systemd or in a
container the control group ends such daemons with prx.

Invariants: `terminate` and `kill` never signal anything but this child (they do nothing after it ended), and whatever the
consumer of the lines does, the pipes are read.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import TracebackType

from prx.backends.launch import Launch
from prx.core.exits import Exit
from prx.runtime.drain import LineConsumer, PipeDrain, StreamStats
from prx.runtime.identity import Identity, identify, writers_of_pipe, writes_pipe
from prx.runtime.spawn import Spawned, spawn

_REST_LIMIT = 1024 * 1024  # /proc/sys/fs/pipe-max-size by default: no pipe of an ordinary user holds more


def _ignore_close(stream: str) -> None:
    """Take no notice: the default of `on_close`."""


class TunnelProcess:
    """Be one running child; made by `spawn`, ended when `wait` returns. Use it on the loop of the main thread.

    `on_line(stream, line)` gets every line of "stdout" and "stderr" without its newline, at most 64 KiB and a marker; it
    should return quickly. `on_close(stream)` tells that a stream ended, which the child may do and live on.
    """

    def __init__(self, spawned: Spawned, on_line: LineConsumer, on_close: Callable[[str], None]) -> None:
        self.pid = spawned.pid
        self.identity: Identity = identify(spawned.pid, spawned.exe)
        self.exit: Exit | None = None
        self._ended = asyncio.Event()
        self._drains = (
            PipeDrain("stdout", spawned.stdout, on_line, on_close),
            PipeDrain("stderr", spawned.stderr, on_line, on_close),
        )
        self._watch_exit()

    @classmethod
    async def spawn(
        cls,
        launch: Launch,
        *,
        on_line: LineConsumer,
        on_close: Callable[[str], None] = _ignore_close,
    ) -> TunnelProcess:
        """Start `launch` and return its process. Raises SpawnError; RuntimeError off the main thread."""
        return cls(spawn(launch), on_line, on_close)

    @property
    def stats(self) -> dict[str, StreamStats]:
        """Return the counters of "stdout" and "stderr"."""
        return {drain.name: drain.stats for drain in self._drains}

    async def wait(self) -> Exit:
        """Wait until the child has ended and its output is read; may be called often, before and after."""
        await self._ended.wait()
        assert self.exit is not None
        return self.exit

    def terminate(self) -> None:
        """Ask the child (not its group) to end: SIGTERM, and SIGCONT in case that it is stopped."""
        if self.exit is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGTERM)  # not collected yet, so the pid is still its own
                os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill the child and its whole group, at once."""
        if self.exit is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    async def aclose(self) -> None:
        """Kill what still runs and wait for its end: for the way out of a block, not for a graceful stop."""
        self.kill()
        await self.wait()

    async def __aenter__(self) -> TunnelProcess:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _watch_exit(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            watch = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # not Linux, an old kernel, or no descriptor left
            _watch_in_thread(self.pid, loop, self._on_exit)
            return

        def readable() -> None:
            loop.remove_reader(watch)
            os.close(watch)
            self._on_exit()

        loop.add_reader(watch, readable)

    def _on_exit(self) -> None:
        self.kill()  # the group: the child itself is a zombie
        self.exit = _collect(self.pid)
        for drain in self._drains:
            drain.read_rest(_REST_LIMIT)
            if not drain.stats.closed:
                _kill_writers(drain.inode)
                drain.close()
        self._ended.set()


def _collect(pid: int) -> Exit:
    try:
        return Exit.from_status(os.waitpid(pid, 0)[1])
    except ChildProcessError:  # SIGCHLD is ignored here, so the kernel collected it
        return Exit()


def _kill_writers(inode: int) -> None:
    """Kill who can write into this log pipe; by pidfd and a second look, so that no pid is mistaken."""
    for pid in writers_of_pipe(inode):
        with contextlib.suppress(OSError, AttributeError):
            writer = os.pidfd_open(pid)
            try:
                if writes_pipe(pid, inode):
                    signal.pidfd_send_signal(writer, signal.SIGKILL)
            finally:
                os.close(writer)


def _watch_in_thread(pid: int, loop: asyncio.AbstractEventLoop, ended: Callable[[], None]) -> None:
    """Wait for the end of a child in a thread of its own, without collecting it."""

    def wait() -> None:
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(ended)

    # a daemon: it must not keep prx from ending when the loop has crashed
    threading.Thread(target=wait, name=f"exit-of-{pid}", daemon=True).start()
