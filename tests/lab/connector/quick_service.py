"""A stand-in for the quick-tunnel service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class QuickService:
    """Answers every request with the same bytes; none: never. `requests` holds the heads of what was asked."""

    def __init__(self, status: str = "200 OK", body: str | None = "{}") -> None:
        self._status = status
        self._body = body
        self._writers: set[asyncio.StreamWriter] = set()
        self.asked = asyncio.Event()
        self.requests: list[str] = []
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["QuickService"]:
        """Listen until the block ends."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        self.asked.set()
        if self._body is None:
            await reader.read()
        else:
            body = self._body.encode()
            writer.write(f"HTTP/1.1 {self._status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
        self._writers.discard(writer)
        writer.close()
