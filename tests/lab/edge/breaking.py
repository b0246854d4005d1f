"""Services that break off in many ways, and visitors that write down what of it has arrived."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.lab.edge.public.test_http2 import ask, session
from tests.support.wire import exchange

from prx.lab import Lab
from prx.lab.edge.task_group import ServerTaskGroup
from prx.lab.protocol.errors import StreamError

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BIG = b"x" * 40_000
# What each service sends before it closes, whether it resets instead, and what of the body has come by then.
BREAKS: dict[str, tuple[bytes, bool, bytes]] = {
    "short-body": (LENGTH + b"hello", False, b"hello"),
    "short-body-reset": (LENGTH + b"hello", True, b"hello"),
    "no-last-chunk": (CHUNKED + b"5\r\nhello\r\n", False, b"hello"),
    "half-a-chunk": (CHUNKED + b"5\r\nhello\r\n8\r\nwor", False, b"hellowor"),
    "bad-chunk": (CHUNKED + b"5\r\nhello\r\nzz\r\nworld\r\n0\r\n\r\n", False, b"hello"),
    "big-and-short": (b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + BIG, False, BIG),
    "head-alone": (LENGTH, False, b""),
}
NO_ANSWER: dict[str, bytes] = {
    "nothing": b"",
    "half-a-head": b"HTTP/1.1 200 OK\r\nContent-",
    "no-http": b"220 ready\r\n",
}


@dataclass
class Seen:
    """What a visitor got: the status (0: none), the body's bytes, and whether the response looked whole."""

    status: int
    body: bytes
    whole: bool


class Breaking:
    """A service that sends what `BREAKS` and `NO_ANSWER` name by the path; `go` lets a `stall-` one close."""

    def __init__(self) -> None:
        self.port = 0
        self.go = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and break off."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            name = head.split(b" ")[1].decode().strip("/")
            stalls = name.startswith("stall-")
            name = name.removeprefix("stall-")
            data, resets, _ = BREAKS.get(name) or (NO_ANSWER[name], False, b"")
            writer.write(data)
            await writer.drain()
            if stalls:
                await self.go.wait()
            if resets:
                await asyncio.sleep(0.05)  # a reset that came at once would take the bytes before it along, in the kernel
                connection = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def breaking() -> AsyncIterator[Breaking]:
    """Run such a service for the length of a block."""
    async with ServerTaskGroup() as group:
        service = Breaking()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            group.create_task(service.serve(reader, writer), name="breaking")

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        service.port = server.sockets[0].getsockname()[1]
        yield service
        server.close()


async def look(lab: Lab, hostname: str, path: str, how: str) -> Seen:
    """Ask once: over `http1`, `https` (HTTP/1.1), `http2`, or as a client of HTTP/1.0 (`http1.0`)."""
    if how == "http2":
        return await _over_http2(lab, hostname, path)
    tls = how == "https"
    context = ssl.create_default_context(cafile=str(lab.ca_file)) if tls else None
    port = urlsplit(lab.public_https if tls else lab.public).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=hostname if tls else None)
    version = "1.0" if how == "http1.0" else "1.1"
    raw = f"GET {path} HTTP/{version}\r\nHost: {hostname}\r\nConnection: close\r\n\r\n".encode()
    heard = await exchange(reader, writer, raw)
    return Seen(heard.status, heard.body, whole=heard.whole)


async def _over_http2(lab: Lab, hostname: str, path: str) -> Seen:
    async with session(lab, hostname) as visitor:
        head = [(name, hostname.encode() if name == b":authority" else value) for name, value in ask(path)]
        stream = await visitor.request(head, end=True)
        status, body = 0, b""
        try:
            status = int(dict(await stream.response())[b":status"])
            while data := await stream.read():
                body += data
        except StreamError:
            return Seen(status, body, whole=False)
        return Seen(status, body, whole=True)
