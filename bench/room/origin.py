"""The handle of the local service: change how it answers, take it away, restore it on the same port."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from bench.room.program import first_line, running


class Origin:
    """The service of a scene."""

    def __init__(self, folder: Path, inside: Sequence[str] = ()) -> None:
        self.port = 0
        self._folder = folder
        self._inside = inside
        self._stack = AsyncExitStack()
        self._process: asyncio.subprocess.Process | None = None

    async def up(self) -> None:
        """Start it, at its former port if it has had one."""
        argv = [*self._inside, sys.executable, "-m", "bench.room.service", str(self.port)]
        self._process = await self._stack.enter_async_context(running(argv, folder=self._folder, name="service"))
        self.port = int(await first_line(self._process))

    async def down(self) -> None:
        """Kill it: its port refuses."""
        self._process = None
        await self._stack.aclose()

    async def answer(self, mode: str) -> None:
        """Set how it answers; `bench.room.service` lists the modes."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(mode.encode() + b"\n")
        await self._process.stdin.drain()


@asynccontextmanager
async def running_origin(folder: Path, inside: Sequence[str] = ()) -> AsyncIterator[Origin]:
    """Run the service; `inside`: words in front of its command, such as those that enter a namespace."""
    origin = Origin(folder, inside)
    await origin.up()
    try:
        yield origin
    finally:
        await origin.down()
