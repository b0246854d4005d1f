"""Run one child process properly: its whole life, from start to the last byte and the last descendant.

Theory of operation
-------------------
`ChildProcess.spawn` starts the child (`prx.runtime.process.spawn`), and from then on three descriptors in the event loop do
everything: two pipes, drained for life (`prx.runtime.process.pipes`), and a pidfd, which becomes readable when the child ends.

Exit is noticed by the pidfd alone (156 µs, no polling, immune to a pid used again). It is never tied to the end of a
pipe: a grandchild that inherited stderr can hold that open for days. If no pidfd can be had a thread waits, and if no
thread can be started a timer polls.

The child is the leader of a group, and the leader is not the whole: behind a script stands the program that serves. A stop
(`terminate`) asks as `prx.runtime.process.group` says and lasts until the whole group is gone, or until `kill` says that its
time is over. The kernel does not report the end of processes that are not our children, so the group is checked every
`LOOK_SECONDS` then. A child that ends by itself takes its group along: at once a connector, whose successor must not meet it;
with `rest_seconds` of grace if it was asked by another (SIGTERM, SIGINT, SIGHUP), and always a service.

At the end, in this order:

1. The zombie is collected. The number of its group is not given to another as long as a member lives, so a signal to the
   group reaches exactly what the child left behind in it, and nothing if it left nothing.
2. What is left in the group is killed.
3. What the child wrote is in the pipes already, so reading at most one pipe's capacity from each, without waiting, gets
   the last line of a crash.
4. A pipe that has not ended then is still held by another process: a group member that is just dying, or a descendant that left
   the session (`setsid`, double fork). A process that has exactly this pipe open is found in /proc and killed.
5. The pipes are closed, `wait` returns.

Not reached by this: a descendant that left the session *and* closed both pipes. PR_SET_CHILD_SUBREAPER would hand it to
prx, but for the whole process: prx would inherit, and have to distinguish, the orphans of everything else it ever
starts, in a host program too when used as a library. Tunnel clients start no daemons, and under systemd or in a
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

from prx.core.exit_status import ExitStatus
from prx.core.launch import Launch
from prx.runtime.process.call_batches import call_batched
from prx.runtime.process.group import Group
from prx.runtime.process.identity import Identity, descendants, group_members, identify, writers_of_pipe, writes_pipe
from prx.runtime.process.pipes import BlockConsumer, LineConsumer, PipeReader, StreamStats
from prx.runtime.process.spawn import Spawned, SpawnError, spawn
from prx.runtime.waiting import Flag

our_children: set[int] = set()
"""The pids of the children that live, or are zombies whose end is being dealt with: a reaper leaves them alone."""


LOOK_SECONDS = 0.05  # while a group is ending
REST_LOOK_SECONDS = 1.0  # at a service that goes on without its leader
REST_SECONDS = 10.0
"""How long the rest of a group may take to end after its leader has ended by itself."""
_REST_LIMIT = 1024 * 1024  # /proc/sys/fs/pipe-max-size by default: no pipe of an ordinary user holds more
_ASKED_TO_END = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def _ignore_close(stream: str) -> None:
    """Do nothing (default `on_close`)."""


def _is_never_behind() -> bool:
    """Return that lines can be taken at any time (default `is_behind`)."""
    return False


def _report_to_loop(error: Exception) -> None:
    """Hand a defect to the event loop's exception handler (default `on_error`)."""
    message = "the output of a child could not be used"
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})


class ChildProcess:
    """Be one running child; made by `spawn`, ended when `wait` returns. Use it on the loop of the main thread.

    `on_line(stream, line)` gets every line of "stdout" and "stderr" without its newline, at most 64 KiB and a marker; it
    should return quickly. `on_block(stream, block)`, if given, gets many that came at once, each with its newline, and returns
    their number. While `is_behind()`, a flood is left in its pipe. `on_error(error)` gets the first exception that they raise;
    the output is read on. `on_close(stream)` says that a stream ended, which the child may do and live on. `service`: the
    group is one thing, which is asked to end as one, and which goes on when its leader has ended well (a script that started it
    in the background).
    """

    def __init__(
        self,
        spawned: Spawned,
        on_line: LineConsumer,
        on_close: Callable[[str], None] = _ignore_close,
        on_error: Callable[[Exception], None] = _report_to_loop,
        *,
        service: bool = False,
        on_block: BlockConsumer | None = None,
        is_behind: Callable[[], bool] = _is_never_behind,
    ) -> None:
        self.pid = spawned.pid
        self.identity: Identity = identify(spawned.pid, spawned.exe)
        self.exit: ExitStatus | None = None
        self.leader_exit: ExitStatus | None = None
        self._service = service
        self._stdin = spawned.stdin
        self._loop = asyncio.get_running_loop()
        wrapped = service or not spawned.exe
        self._group = Group(spawned.pid, spawned.arguments, spawned.client, wrapped=wrapped, now=self._loop.time)
        self._stopping = False
        self._killed = False
        self._collected = False
        self._kill_at: float | None = None
        self._next_look: asyncio.TimerHandle | None = None
        self._ended = Flag()
        self._on_error = on_error
        self._consumer_failed = False
        self._drains = tuple(
            PipeReader(name, fd, on_line, on_close, self._on_consumer_error, on_block=on_block, is_behind=is_behind)
            for name, fd in (("stdout", spawned.stdout), ("stderr", spawned.stderr))
        )
        self._watch_exit()
        our_children.add(self.pid)

    @classmethod
    async def spawn(
        cls,
        launch: Launch,
        *,
        on_line: LineConsumer,
        on_block: BlockConsumer | None = None,
        is_behind: Callable[[], bool] = _is_never_behind,
        on_close: Callable[[str], None] = _ignore_close,
        on_error: Callable[[Exception], None] = _report_to_loop,
        service: bool = False,
    ) -> ChildProcess:
        """Start `launch` and return its process. Raises SpawnError; RuntimeError off the main thread."""
        spawned = spawn(launch)
        try:
            process = cls(spawned, on_line, on_close, on_error, service=service, on_block=on_block, is_behind=is_behind)
        except OSError as error:  # the event loop takes no more descriptors
            _give_up(spawned)
            raise SpawnError.of(error, f"cannot watch '{launch.argv[0]}'") from error
        return process

    def _on_consumer_error(self, error: Exception) -> None:
        if not self._consumer_failed:
            self._consumer_failed = True
            self._on_error(error)

    @property
    def stats(self) -> dict[str, StreamStats]:
        """Return the counters of "stdout" and "stderr"."""
        return {drain.name: drain.stats for drain in self._drains}

    async def wait(self) -> ExitStatus:
        """Wait until the child has ended and its output is read; may be called often, before and after."""
        await self._ended.wait()
        assert self.exit is not None
        return self.exit

    def family(self) -> list[int]:
        """List the processes that this child is: itself, its group, and what descends from it, as far as can be seen."""
        found = [self.pid, *(descendants(self.pid) or []), *group_members(self.pid)]
        return list(dict.fromkeys(found))

    def terminate(self) -> None:
        """Ask the child, and what it has started, to end: SIGTERM, and SIGCONT in case that it is stopped."""
        if self.exit is None and not self._stopping:
            self._stopping = True
            self._press()

    def kill(self) -> None:
        """Kill the child and its whole group, at once."""
        if self.exit is None:
            self._killed = True
            self._kill_group()
            if self.leader_exit is not None:
                self._finish()

    async def aclose(self) -> None:
        """Kill what still runs and wait for its end: for the way out of a block, not for a graceful stop."""
        self.kill()
        await self.wait()

    async def __aenter__(self) -> ChildProcess:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _watch_exit(self) -> None:
        watch = -1
        try:
            watch = os.pidfd_open(self.pid)
            self._loop.add_reader(watch, self._readable, watch)
        except (AttributeError, OSError):  # not Linux, an old kernel, or no descriptor left
            if watch >= 0:
                os.close(watch)
            try:
                _watch_in_thread(self.pid, self._loop, self._on_exit)
            except RuntimeError:  # no thread left either
                self._watch_by_timer()

    def _readable(self, watch: int) -> None:
        self._loop.remove_reader(watch)
        os.close(watch)
        call_batched(self._on_exit)

    def _watch_by_timer(self) -> None:
        with contextlib.suppress(ChildProcessError):
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
                self._loop.call_later(LOOK_SECONDS, self._watch_by_timer)
                return
        self._on_exit()

    def _on_exit(self) -> None:
        """Go on when the leader has ended: it is a zombie, which keeps the number of its group."""
        self.leader_exit = _look_at_exit(self.pid)
        if self._killed:
            self._kill_group()
        if self._killed or not self._is_left():
            self._finish()
            return
        if not self._stopping and self._goes_on_without_leader():
            self._look_again(REST_LOOK_SECONDS)
            return
        if not self._stopping:
            patient = self._service or self.leader_exit.signal in _ASKED_TO_END
            self._kill_at = self._loop.time() + (REST_SECONDS if patient else 0.0)
            self._stopping = True
        self._press()

    def _goes_on_without_leader(self) -> bool:
        return self._service and self.leader_exit is not None and self.leader_exit.clean

    def _press(self) -> None:
        """Ask those that have not been asked yet; check again until the group is gone."""
        lives = self.leader_exit is None
        if self._kill_at is not None and self._loop.time() >= self._kill_at:
            self.kill()
            return
        if self._service or self._kill_at is not None:
            self._group.ask_everyone()
        else:
            self._group.ask_client_first(leader_lives=lives)
        self._look_again()

    def _look_again(self, seconds: float = LOOK_SECONDS) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
        self._next_look = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._next_look = None
        if self.exit is not None:
            return
        if self.leader_exit is not None and not self._is_left():
            self._finish()
        elif self._stopping:
            self._press()
        else:
            self._look_again(REST_LOOK_SECONDS)

    def _is_left(self) -> bool:
        """Return whether others of the group live on after the leader.

        Its number is kept as long as a process is left in it, so the leader can be collected before the kernel is asked: as a
        zombie it would count. Only if a process is left it is worth checking whether that is a zombie as well.
        """
        self._collect_leader()
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        others = self._group.others()
        return others is None or bool(others)

    def _kill_group(self) -> None:
        if self._collected and self._group.others() == []:  # the number may belong to a stranger by now
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _collect_leader(self) -> None:
        if not self._collected:
            self._collected = True
            with contextlib.suppress(ChildProcessError):  # SIGCHLD is ignored here, so the kernel collected it
                os.waitpid(self.pid, 0)

    def _finish(self) -> None:
        if self.exit is not None:
            return
        self._collect_leader()
        our_children.discard(self.pid)
        self.exit = self.leader_exit or ExitStatus()
        for drain in self._drains:
            drain.read_rest(_REST_LIMIT)
            if not drain.stats.closed:
                _kill_writers(drain.inode)
                drain.close()
        if self._stdin >= 0:
            os.close(self._stdin)
        if self._next_look is not None:
            self._next_look.cancel()
        self._ended.set()


def _give_up(spawned: Spawned) -> None:
    """End a child that cannot be watched."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(spawned.pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(spawned.pid, 0)
    loop = asyncio.get_running_loop()
    for fd in (spawned.stdout, spawned.stderr):
        loop.remove_reader(fd)
    spawned.close()


def _look_at_exit(pid: int) -> ExitStatus:
    """Return how a child ended that is not collected yet."""
    try:
        seen = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:  # SIGCHLD is ignored here, so the kernel collected it
        return ExitStatus()
    assert seen is not None
    return ExitStatus(code=seen.si_status) if seen.si_code == os.CLD_EXITED else ExitStatus(signal=seen.si_status)


def _kill_writers(inode: int) -> None:
    """Kill what can write into this log pipe; by pidfd and a second check, so that no pid is mistaken."""
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
