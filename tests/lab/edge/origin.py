"""A local service for tests: bodies of any size, streams that the test drives, WebSockets, and misbehaviour."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from websockets.frames import Frame, Opcode
from websockets.http11 import Request as WebSocketRequest
from websockets.server import ServerProtocol

from prx.lab.edge.task_group import ServerTaskGroup

BLOCK = bytes(range(256)) * 1024  # 256 KiB, so that a shifted or lost byte shows


def blob_digest(size: int) -> str:
    """SHA-256 of the body that `/bytes?n=SIZE` gives and that `blob` yields."""
    digest = hashlib.sha256()
    for part in blob(size):
        digest.update(part)
    return digest.hexdigest()


def blob(size: int) -> list[bytes]:
    """`size` bytes in blocks that share memory."""
    whole, rest = divmod(size, len(BLOCK))
    return [BLOCK] * whole + [BLOCK[:rest]]


@dataclass
class Asked:
    """A request as it came: names and values untouched."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    head: bytes

    def header(self, name: str) -> str:
        """The last value of a header, or ''."""
        return {key.lower(): value for key, value in self.headers}.get(name, "")


class Origin:
    """Listens on `port`; `events` feeds `/events`, `release` lets `/slow` answer, `left` is set when its client leaves."""

    def __init__(self, group: ServerTaskGroup) -> None:
        self._group = group
        self.port = 0
        self.events: asyncio.Queue[str | None] = asyncio.Queue()
        self.release = asyncio.Event()
        self.reached = asyncio.Event()
        self.left = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests on one connection."""
        try:
            while asked := await _read_head(reader):
                await self._answer(asked, reader, writer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def _answer(self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        url = urlsplit(asked.target)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        match url.path:
            case "/bytes":
                await _send_bytes(writer, int(query["n"]), chunked="chunked" in query, head=asked.method == "HEAD")
            case "/digest":
                await _digest(asked, reader, writer)
            case "/events":
                await self._events(writer)
            case "/slow":
                await self._slow(reader, writer)
            case "/ws":
                await _websocket(asked, reader, writer)
                raise ConnectionAbortedError("a WebSocket's server closes the connection")
            case "/half":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50_000)
                await writer.drain()
                writer.transport.abort()
            case "/odd":
                writer.write(
                    b"HTTP/1.1 299 Odd\r\nSet-Cookie: a=1\r\nX-Multi: one\r\nSet-Cookie: b=2\r\nX-MULTI: two\r\n"
                    b"Content-Length: 3\r\n\r\nodd"
                )
            case "/trailers":
                writer.write(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n"
                )
            case "/not-modified":
                writer.write(b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 1234\r\n\r\n')
            case "/empty":
                writer.write(b"HTTP/1.1 204 No Content\r\nX-Empty: yes\r\n\r\n")
            case _:
                body = json.dumps({"method": asked.method, "target": asked.target, "headers": asked.headers}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async def _events(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        while (event := await self.events.get()) is not None:
            data = f"data: {event}\n\n".encode()
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    async def _slow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reached.set()
        async with asyncio.TaskGroup() as group:
            gone = group.create_task(reader.read(1))
            gone.add_done_callback(lambda task: None if task.cancelled() else self.left.set())
            released = group.create_task(self.release.wait())
            await asyncio.wait((gone, released), return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            released.cancel()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")


@asynccontextmanager
async def run_origin() -> AsyncIterator[Origin]:
    """Run an origin for the length of a block."""
    async with ServerTaskGroup() as group:
        origin = Origin(group)

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            group.create_task(origin.serve(reader, writer), name="origin")

        server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=1024 * 1024)
        origin.port = server.sockets[0].getsockname()[1]
        yield origin
        server.close()


async def _read_head(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return Asked(method, target, headers, head)


async def _read_body(asked: Asked, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    if asked.header("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            yield await reader.readexactly(size)
            await reader.readline()
        while (await reader.readline()).strip():
            pass
        return
    left = int(asked.header("content-length") or 0)
    while left:
        data = await reader.read(min(left, 256 * 1024))
        if not data:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(data)
        yield data


async def _digest(asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    digest = hashlib.sha256()
    size = 0
    async for data in _read_body(asked, reader):
        digest.update(data)
        size += len(data)
    body = json.dumps({"sha256": digest.hexdigest(), "size": size, "chunked": asked.header("transfer-encoding")}).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


async def _send_bytes(writer: asyncio.StreamWriter, size: int, *, chunked: bool, head: bool) -> None:
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n%b\r\n\r\n" % framing)
    if head:
        return
    for part in blob(size):
        if part:
            writer.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
            await writer.drain()
    if chunked:
        writer.write(b"0\r\n\r\n")


async def _websocket(asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Echo every message until the client closes."""
    protocol = ServerProtocol(max_size=None)
    protocol.receive_data(asked.head)
    (request,) = protocol.events_received()
    assert isinstance(request, WebSocketRequest)
    protocol.send_response(protocol.accept(request))
    while True:
        for data in protocol.data_to_send():
            writer.write(data)
        await writer.drain()
        if protocol.close_expected():
            break
        data = await reader.read(65536)
        if not data:
            break
        protocol.receive_data(data)
        for frame in protocol.events_received():
            if isinstance(frame, Frame):
                _echo(protocol, frame)


def _echo(protocol: ServerProtocol, frame: Frame) -> None:
    data = bytes(frame.data)
    if frame.opcode is Opcode.TEXT:
        protocol.send_text(data, fin=frame.fin)
    elif frame.opcode is Opcode.BINARY:
        protocol.send_binary(data, fin=frame.fin)
    elif frame.opcode is Opcode.CONT:
        protocol.send_continuation(data, fin=frame.fin)
