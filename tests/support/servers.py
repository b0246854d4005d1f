"""Real servers on loopback, each as odd as its handler."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from tests.support.closing import Connections, stop_accepting

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Served:
    """A server that listens, and the heads of the requests that it got."""

    port: int
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0
    sent: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Servers:
    """Starts servers, and ends them with all their connections."""

    def __init__(self) -> None:
        self._servers: list[tuple[asyncio.Server, Connections]] = []

    async def start(
        self,
        handler: Handler,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        read_head: bool = True,
    ) -> Served:
        """Serve `handler`; it is called once the head of a request has been read (`read_head`)."""
        served = Served(0)

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            served.connections += 1
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
                if read_head:
                    served.heads.append(await reader.readuntil(b"\r\n\r\n"))
                await handler(reader, writer)
            writer.transport.abort() if tls else writer.close()

        connections = Connections(handle)
        server = await asyncio.start_server(connections.come, host, port, ssl=tls)
        self._servers.append((server, connections))
        served.port = server.sockets[0].getsockname()[1]
        return served

    async def canned(self, raw: bytes, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> Served:
        """Serve the same bytes to everybody."""

        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(raw)
            await writer.drain()

        return await self.start(answer, host=host, port=port, tls=tls)

    async def close(self) -> None:
        """End everything."""
        for server, connections in self._servers:
            connections.takes = False
            await stop_accepting(server)
            await connections.end()


@contextlib.asynccontextmanager
async def listening(handler: Handler, *, read_head: bool = False) -> AsyncIterator[Served]:
    """Serve `handler` for the length of a block; see `Servers.start`."""
    servers = Servers()
    try:
        yield await servers.start(handler, read_head=read_head)
    finally:
        await servers.close()


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """Write a whole answer; header names take underscores for hyphens."""
    lines = [f"HTTP/1.1 {status} Words", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def drip(writer: asyncio.StreamWriter, data: bytes, pause: float) -> None:
    """Write one byte at a time, with a pause after each."""
    for position in range(len(data)):
        writer.write(data[position : position + 1])
        await writer.drain()
        await asyncio.sleep(pause)


async def pour(writer: asyncio.StreamWriter, served: list[int]) -> None:
    """Write without an end, and count what was taken."""
    chunk = b"x" * 65536
    while True:
        writer.write(chunk)
        await writer.drain()
        served.append(len(chunk))


async def forever() -> None:
    """Never return."""
    await asyncio.Event().wait()
