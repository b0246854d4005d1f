"""End a server of asyncio's with whatever it has accepted.

A server loses what it has accepted as it is closed (Python 3.11): the connection fails before any handler has heard of it, and
stays open until it is collected. So a server takes nothing more at first, and is closed once all that came is a connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

STEPS = 5  # of the loop: what was accepted becomes a connection within three of them, and what is broken off is closed in one

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


async def stop_accepting(server: asyncio.Server) -> None:
    """Close a server once what it has accepted has become connections."""
    for listening in server.sockets:
        asyncio.get_running_loop().remove_reader(listening.fileno())
    await settle()
    server.close()


async def settle() -> None:
    """Have the loop finish what it has started with connections."""
    for _ in range(STEPS):
        await asyncio.sleep(0)


class Connections:
    """The connections of a server, each known from its first moment on: a task that has not started yet closes nothing.

    `come` is the server's callback; `serve` is run for each.
    """

    def __init__(self, serve: Serve) -> None:
        self.takes = True
        self._serve = serve
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection, or break it off if none is taken any more."""
        if not self.takes:
            writer.transport.abort()
            return
        # `end` waits for it
        task = asyncio.create_task(self._serve(reader, writer), name="connection of a test's server")  # noqa: TID251
        self._open[task] = writer
        task.add_done_callback(self._open.pop)

    def abort(self) -> None:
        """Break off all of them."""
        for writer in self._open.values():
            writer.transport.abort()

    async def end(self) -> None:
        """Break off all of them, and wait until they are closed and nothing serves them any more."""
        self.abort()
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await settle()
