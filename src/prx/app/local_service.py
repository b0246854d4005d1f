"""Run the local service itself, for those who want one command for both (`prx start -- COMMAND`).

The service is the user's own program: it gets the environment that it would have without prx (the caller leaves out what is
meant for prx alone), PORT if it does not choose its port itself, and a stdin that stays open and silent, because many dev
servers end when theirs ends. It is started first and stopped last, so that requests in flight still find it. What it writes is
handed on line by line. It ends with prx, however prx ends, as every child does.

The command is often `npm run …` or a script, so the service is its whole process group: all of it is asked to end, and has
`STOP_SECONDS` for that. One that has gone into the background, out of its group, is known by a mark in its environment; what
listens on the port and bears it is asked to end as well. Whatever else the command has left behind on purpose (the daemon of a
build tool) is not the service, and stays.
"""

from __future__ import annotations

import asyncio
import shlex
import signal
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

from prx.config.local_addr import LocalAddr
from prx.core.errors import NotReadyError, PermanentError, PrxError
from prx.core.exit_status import ExitStatus
from prx.core.launch import Launch
from prx.logs.text import decode
from prx.runtime.host.clock import Clock
from prx.runtime.host.sd_notify import VARIABLES
from prx.runtime.probes.listening import accepts, listeners, reachable
from prx.runtime.process.child import ChildProcess
from prx.runtime.process.marked import marked, new_mark, signal_marked
from prx.runtime.process.spawn import SpawnError

STOP_SECONDS = 10.0  # from SIGTERM to SIGKILL
LAST_LINES = 5  # of a service that ended too early
_LOOK_EVERY = 0.05  # seconds; a port reports no event when a program begins to listen
_SEARCH_EVERY = 5  # polls: where else it listens takes longer to find out


class ServiceError(PrxError):
    """The service cannot be started, or ended too early; `problems` are its last lines."""

    def __init__(self, message: str, *, hint: str = "", last_lines: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(f"| {line}" for line in last_lines)


class LocalService:
    """The user's command, which serves `address`.

    `publish_line` gets each line that it writes, and returns it printable and without secrets; `log(level, message)` gets what
    prx has to say about it.
    """

    def __init__(
        self,
        command: tuple[str, ...],
        address: LocalAddr,
        *,
        environ: Mapping[str, str],
        clock: Clock,
        publish_line: Callable[[str], str],
        log: Callable[[str, str], None],
    ) -> None:
        self.command = command
        self.address = address
        self.waiting = f"waiting for the service on {address.authority}"
        own = {name: value for name, value in environ.items() if name not in VARIABLES}
        self._mark = new_mark()
        self._launch = Launch(command, {**own, **self._mark, "PORT": str(address.port)}, open_stdin=True)
        self._clock = clock
        self._publish_line = publish_line
        self._log = log
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._process: ChildProcess | None = None
        self._instead = self._hint = ""

    @property
    def name(self) -> str:
        """Return the program's name, for messages."""
        return self.command[0].rpartition("/")[2]

    async def start(self, timeout: float) -> None:
        """Start the service and wait until it listens.

        Raises ServiceError if something else has the port, or if it ends too early; NotReadyError after `timeout`
        seconds; PermanentError or SpawnError if the command cannot be run.
        """
        if await accepts(self.address):
            raise ServiceError(
                f"{self.address.authority} is in use already, so {self.name!r} cannot serve it",
                hint=f"stop what listens there, or name another port: prx start PORT -- {self.name} …",
            )
        self._process = await self._spawn()
        self._log("info", f"{self.waiting} …")
        try:
            async with asyncio.timeout(timeout):
                await self._until_it_listens(self._process)
        except TimeoutError as error:
            raise self._too_late(timeout) from error

    async def wait(self) -> ExitStatus:
        """Wait until the service ends."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self, timeout: float = STOP_SECONDS) -> None:
        """End the service: SIGTERM to its whole group, and SIGKILL to what is left of it after `timeout` seconds."""
        if self._process is None:
            return
        self._process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._process.wait()
        await self._process.aclose()
        await self._end_daemon(timeout)

    def kill(self) -> None:
        """Kill the service at once."""
        if self._process is not None:
            self._process.kill()
            for pid in self._daemon():
                signal_marked(pid, self._mark, signal.SIGKILL)

    def _daemon(self) -> list[int]:
        """List the processes that serve the port from outside of the group."""
        return [pid for pid in marked(self._mark) if any(item.port == self.address.port for item in listeners([pid]))]

    async def _end_daemon(self, timeout: float) -> None:
        """Ask what serves the port from outside of the group to end; kill it after `timeout` seconds."""
        asked = self._daemon()
        for pid in asked:
            signal_marked(pid, self._mark, signal.SIGTERM)
        until = self._clock.monotonic() + timeout
        while asked and self._clock.monotonic() < until:
            await self._clock.sleep(_LOOK_EVERY)
            asked = [pid for pid in asked if pid in marked(self._mark)]
        for pid in asked:
            signal_marked(pid, self._mark, signal.SIGKILL)

    def ended(self, end: ExitStatus, when: str = "") -> ServiceError:
        """Return the error that says how it ended, `when`, and what it said last."""
        clean = end.code == 0
        hint = "a service has to stay in the foreground; it ends with code 0 if it goes into the background" if clean else ""
        return ServiceError(f"{self.name!r} ended{when}: {end}", hint=hint, last_lines=tuple(self._last_lines))

    async def _spawn(self) -> ChildProcess:
        try:
            return await ChildProcess.spawn(self._launch, on_line=self._on_line, service=True)
        except SpawnError as error:
            if error.permanent:
                raise PermanentError(error.message, hint=error.hint) from error
            raise

    def _on_line(self, _stream: str, line: bytes) -> None:
        said = self._publish_line(decode(line))
        if said.strip():
            self._last_lines.append(said)

    async def _until_it_listens(self, process: ChildProcess) -> None:
        looks = 0
        while not await accepts(self.address):
            if process.exit is not None:
                raise self.ended(process.exit, f" before it listened on {self.address.authority}")
            looks += 1
            if looks % _SEARCH_EVERY == 0:
                await self._search(process)
            await self._clock.sleep(_LOOK_EVERY)

    async def _search(self, process: ChildProcess) -> None:
        """Report the port on which the service listens, if that is another one."""
        found = await reachable(listeners(process.family()))
        if not found or await accepts(self.address):
            return
        instead = f"it listens on {' and '.join(item.authority for item in found)} instead"
        if instead == self._instead:
            return
        self._instead = instead
        self._hint = f"prx start {found[-1].argument} -- {shlex.join(self.command)}"
        self.waiting = f"waiting for the service on {self.address.authority}; {instead}"
        self._log("warn", f"{self.name!r} does not listen on {self.address.authority}; {instead}: {self._hint}")

    def _too_late(self, timeout: float) -> NotReadyError:
        message = f"{self.name!r} does not listen on {self.address.authority} after {timeout:.0f} s"
        if self._instead:
            return NotReadyError(f"{message}; {self._instead}", hint=self._hint)
        hint = f"prx passes the port in the variable PORT ({self.address.port}); or name its port: prx start PORT -- …"
        return NotReadyError(message, hint=hint)
