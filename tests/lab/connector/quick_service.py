"""A stand-in for the quick-tunnel service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.servers import Served, listening


class QuickService:
    """Answers every request with the same bytes; none: never."""

    def __init__(self, status: str = "200 OK", body: str | None = "{}") -> None:
        self._status = status
        self._body = body
        self._served = Served(0)
        self.asked = asyncio.Event()
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["QuickService"]:
        """Listen until the block ends."""
        async with listening(self._serve, read_head=True) as served:
            self.url, self._served = served.url, served
            yield self

    @property
    def requests(self) -> list[str]:
        """The heads of what was asked."""
        return [head.decode() for head in self._served.heads]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.set()
        if self._body is None:
            await reader.read()
        else:
            body = self._body.encode()
            writer.write(f"HTTP/1.1 {self._status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
