"""Run the local service itself, for those who want one command for both (`prx start -- COMMAND`).

The service is the user's own program: it gets the environment that it would have without prx (the caller leaves out what is
meant for prx alone), and PORT where it does not choose its port itself. It is
started first and stopped last, so that requests in flight still find it. What it writes is handed on line by line. It ends
with prx, however prx ends, as every child does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from prx.backends.launch import Launch
from prx.config.local_addr import LocalAddr
from prx.core.errors import NotReadyError, PermanentError, PrxError
from prx.core.exits import Exit
from prx.logs.text import decode
from prx.runtime.clock import Clock
from prx.runtime.notify import VARIABLES
from prx.runtime.process import TunnelProcess
from prx.runtime.spawn import SpawnError

STOP_SECONDS = 10.0  # from SIGTERM to SIGKILL
_LOOK_EVERY = 0.05  # seconds; a port cannot tell by itself that somebody listens now
_CONNECT_SECONDS = 2.0


class ServiceError(PrxError):
    """The service cannot be started, or ended before it listened."""


class Service:
    """The user's command, which serves `address`. `tell` gets each line that it writes, printable."""

    def __init__(
        self,
        command: tuple[str, ...],
        address: LocalAddr,
        *,
        environ: Mapping[str, str],
        clock: Clock,
        tell: Callable[[str], None],
    ) -> None:
        self.command = command
        self.address = address
        own = {name: value for name, value in environ.items() if name not in VARIABLES}
        self._launch = Launch(command, {**own, "PORT": str(address.port)})
        self._clock = clock
        self._tell = tell
        self._process: TunnelProcess | None = None

    @property
    def name(self) -> str:
        """Return the program's name, for messages."""
        return self.command[0].rpartition("/")[2]

    async def start(self, timeout: float) -> None:
        """Start the service and wait until it listens.

        Raises ServiceError where something else has the port, or where it ends too early; NotReadyError after `timeout`
        seconds; PermanentError or SpawnError where the command cannot be run.
        """
        if await self._listens():
            raise ServiceError(
                f"{self.address.authority} is in use already, so {self.name!r} cannot serve it",
                hint=f"stop what listens there, or give another port: prx start PORT -- {self.name} …",
            )
        self._process = await self._spawn()
        try:
            async with asyncio.timeout(timeout):
                await self._until_it_listens(self._process)
        except TimeoutError as error:
            raise NotReadyError(
                f"{self.name!r} does not listen on {self.address.authority} after {timeout:.0f} s",
                hint=f"prx gives it the port in the variable PORT ({self.address.port}); or name its port: prx start PORT -- …",
            ) from error

    async def wait(self) -> Exit:
        """Wait until the service ends."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self, timeout: float = STOP_SECONDS) -> None:
        """End the service: SIGTERM, and SIGKILL to its whole group after `timeout` seconds."""
        if self._process is None:
            return
        self._process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._process.wait()
        await self._process.aclose()

    def kill(self) -> None:
        """Kill the service at once."""
        if self._process is not None:
            self._process.kill()

    async def _spawn(self) -> TunnelProcess:
        try:
            return await TunnelProcess.spawn(self._launch, on_line=lambda _, line: self._tell(decode(line)))
        except SpawnError as error:
            if error.permanent:
                raise PermanentError(error.message, hint=error.hint) from error
            raise

    async def _until_it_listens(self, process: TunnelProcess) -> None:
        while not await self._listens():
            if process.exit is not None:
                raise ServiceError(f"{self.name!r} ended before it listened on {self.address.authority}: {process.exit}")
            await self._clock.sleep(_LOOK_EVERY)

    async def _listens(self) -> bool:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                _, writer = await asyncio.open_connection(self.address.host, self.address.port)
        except (OSError, TimeoutError):
            return False
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return True
