"""Talk to one running prx over its control socket, on the loop; the language is described in `prx.control.messages`."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from prx.control.client import UnresponsiveError
from prx.control.messages import ANSWER_LIMIT, Message, decode, encode, raised
from prx.control.peer import is_allowed, peer_of
from prx.control.unixpath import address

ANSWER_SECONDS: Final = 5.0


class SilentError(UnresponsiveError):
    """A prx is there and does not answer in time: it may be frozen, or the machine be busy."""


class Link:
    """One connection to a prx; one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, do: str, *, timeout: float = ANSWER_SECONDS, **arguments: Any) -> Message:
        """Send one request and return its answer.

        Raises what the other side refused as the PrxError that it names, UnresponsiveError if it does not answer as it should.
        """
        try:
            async with asyncio.timeout(timeout):
                self._writer.write(encode({"do": do, **arguments}))
                await self._writer.drain()
                answer = await self._line()
        except TimeoutError as error:
            raise SilentError("prx does not answer in time") from error
        except (OSError, ValueError, asyncio.LimitOverrunError) as error:
            raise UnresponsiveError(f"prx does not answer: {error}") from error
        if not answer.get("ok"):
            raise raised(answer)
        return answer

    async def events(self) -> AsyncIterator[Message]:
        """Yield the events of the other side until it ends; raises as `ask` does."""
        await self.ask("events")
        try:
            while True:
                yield await self._line()
        except (OSError, ValueError, asyncio.LimitOverrunError) as error:
            raise UnresponsiveError(f"the events of prx have ended: {error}") from error

    async def _line(self) -> Message:
        try:
            return decode(await self._reader.readuntil(b"\n"))
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError("it closed the connection") from error


@asynccontextmanager
async def linked(path: Path) -> AsyncIterator[Link]:
    """Yield a connection to the prx whose control socket is `path`; OSError if none listens, or if it is not this user's."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.setblocking(False)
    try:
        with address(path) as short:
            async with asyncio.timeout(ANSWER_SECONDS):
                await asyncio.get_running_loop().sock_connect(connection, short)
        peer = peer_of(connection)
        if peer is not None and not is_allowed(peer[1]) and not (os.geteuid() == 0 and peer[1] == path.parent.stat().st_uid):
            raise PermissionError(  # noqa: TRY301 - the block closes the socket
                f"{path} belongs to a process of user {peer[1]}"
            )
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=ANSWER_LIMIT)
    except BaseException:
        connection.close()
        raise
    try:
        yield Link(reader, writer)
    finally:
        writer.transport.abort()
