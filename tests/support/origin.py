"""The one local service of the tests: bodies of any size, streams that the test drives, WebSockets, and misbehaviour.

Requests are read with h11; answers are written as they stand, because some of them are what no server would send. After each
answer the rest of the request's body is read, so a connection may be used again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import parse_qs, urlsplit

import h11
from tests.support.closing import Connections, stop_accepting
from websockets.frames import Frame, Opcode
from websockets.http11 import Request as WebSocketRequest
from websockets.server import ServerProtocol

from prx.testing.hosted import Hosted, hosted

BLOCK = bytes(range(256)) * 1024  # 256 KiB, so that a shifted or lost byte shows
_LONGEST_HEAD = 1024 * 1024


def blob(size: int) -> list[bytes]:
    """`size` bytes in blocks that share memory."""
    whole, rest = divmod(size, len(BLOCK))
    return [BLOCK] * whole + [BLOCK[:rest]]


def blob_digest(size: int) -> str:
    """SHA-256 of the body that `/bytes/SIZE` gives and that `blob` yields."""
    digest = hashlib.sha256()
    for part in blob(size):
        digest.update(part)
    return digest.hexdigest()


class Asked:
    """A request as it came, names and values untouched, and its body."""

    def __init__(self, reader: asyncio.StreamReader, rest: bytes) -> None:
        self._reader = reader
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=_LONGEST_HEAD)
        self._h11.receive_data(rest) if rest else None
        self.method = self.target = ""
        self.headers: list[tuple[str, str]] = []
        self.trailers: list[tuple[str, str]] = []

    async def head(self) -> bool:
        """Read the head; False when the client is done."""
        event = await self._event()
        if not isinstance(event, h11.Request):
            return False
        self.method, self.target = event.method.decode(), event.target.decode("latin-1")
        self.headers = _text(event.headers.raw_items())
        return True

    async def body(self) -> AsyncIterator[bytes]:
        """Yield what is left of the body."""
        while self._h11.their_state is h11.SEND_BODY:
            event = await self._event()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.trailers = _text(event.headers.raw_items())

    async def whole(self) -> bytes:
        """Return what is left of the body."""
        return b"".join([part async for part in self.body()])

    @property
    def behind(self) -> bytes:
        """What came after the request."""
        return bytes(self._h11.trailing_data[0])

    @property
    def raw(self) -> bytes:
        """The head as bytes."""
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers), "", ""]
        return "\r\n".join(lines).encode("latin-1")

    def header(self, name: str) -> str:
        """The last value of a header, or ''."""
        return {key.lower(): value for key, value in self.headers}.get(name, "")

    async def _event(self) -> object:
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            self._h11.receive_data(await self._reader.read(256 * 1024))
        return event


class Origin:
    """Listens on `port`; without a `page`, a path that it does not know gets the request as JSON, with `status`.

    `events` feeds `/events` and `release` lets `/slow` answer; `reached` is set when `/slow` is asked for, `left` when its
    client leaves.
    """

    def __init__(self, *, port: int = 0, page: bytes | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.port = port
        self._tls = tls
        self.page = page
        self.status = 200
        self.connections = 0
        self.events: asyncio.Queue[str | None] = asyncio.Queue()
        self.release, self.reached, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._server: asyncio.Server | None = None
        self._connections = Connections(self._serve)

    @property
    def url(self) -> str:
        """The address of the service."""
        return f"http://127.0.0.1:{self.port}"

    async def resume(self) -> None:
        """Listen, on the same port as before."""
        self._connections.takes = True
        self._server = await asyncio.start_server(self._connections.come, "127.0.0.1", self.port, backlog=512, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def pause(self) -> None:
        """Refuse connections, and break those that there are."""
        assert self._server is not None
        self._connections.takes = False
        await stop_accepting(self._server)
        self.drop_idle()

    def drop_idle(self) -> None:
        """Break every connection, as a service does that restarts."""
        self._connections.abort()

    async def close(self) -> None:
        """End with all connections, also those that come just now."""
        await self.pause()
        await self._connections.end()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        rest = b""
        try:
            while await (asked := Asked(reader, rest)).head():
                await self.answer(asked, reader, writer)
                await writer.drain()
                await asked.whole()
                rest = asked.behind
        except (OSError, asyncio.CancelledError, h11.ProtocolError):
            writer.transport.abort()
        finally:
            writer.close()

    async def answer(self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer by path; ConnectionAbortedError when the connection cannot go on."""
        url = urlsplit(asked.target)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        match url.path.split("/")[1:]:
            case ["bytes", *size]:
                await _send_bytes(asked, writer, int(size[0] if size else query["n"]), chunked="chunked" in query)
            case ["digest"]:
                await _digest(asked, writer)
            case ["events"]:
                await self._events(writer)
            case ["slow"]:
                await self._slow(asked, reader, writer)
            case ["ws"]:
                await _websocket(asked, reader, writer)
                raise ConnectionAbortedError("a WebSocket's server closes the connection")
            case ["raw"]:
                await _stream(reader, writer)
            case ["status", code]:
                writer.write(_whole(b"" if code in {"204", "304"} else b"answer", _MARKS, int(code)))
            case ["mirror"]:
                await _mirror(asked, writer)
            case ["half"]:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50_000)
                await writer.drain()
                raise ConnectionAbortedError("half of the answer")
            case [name] if name in _ODD:
                writer.write(_ODD[name])
            case _:
                self._other(asked, writer)

    def _other(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        body = self.page
        if body is None:
            body = json.dumps({"method": asked.method, "target": asked.target, "headers": asked.headers}).encode()
        whole = _whole(body, status=self.status)
        writer.write(whole[: -len(body)] if asked.method == "HEAD" and self.page else whole)

    async def _events(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        while (event := await self.events.get()) is not None:
            data = f"data: {event}\n\n".encode()
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    async def _slow(self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked.whole()
        self.reached.set()
        async with asyncio.TaskGroup() as group:
            gone = group.create_task(reader.read(1))
            gone.add_done_callback(lambda task: None if task.cancelled() else self.left.set())
            released = group.create_task(self.release.wait())
            await asyncio.wait((gone, released), return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            released.cancel()
        writer.write(_whole(b"slow"))


@asynccontextmanager
async def run_origin(*, port: int = 0, page: bytes | None = None, tls: ssl.SSLContext | None = None) -> AsyncIterator[Origin]:
    """Run an origin for the length of a block."""
    origin = Origin(port=port, page=page, tls=tls)
    await origin.resume()
    try:
        yield origin
    finally:
        await origin.close()


class HostedOrigin:
    """An origin in a thread of its own, for tests that block; see `serving`."""

    def __init__(self, thread: Hosted[Origin]) -> None:
        self._thread = thread
        self.port = thread.value.port

    def answer_with(self, status: int) -> None:
        """Answer every unknown path with this status from now on."""
        self._thread.value.status = status

    def drop_idle(self) -> None:
        """Break every connection, as a service does that restarts."""
        self._thread.call(lambda origin: origin.drop_idle())

    def send_event(self, event: str | None) -> None:
        """Send one event to who reads `/events`; None ends the stream."""
        self._thread.call(lambda origin: origin.events.put_nowait(event))

    @property
    def is_holding(self) -> bool:
        """Return whether `/slow` has been asked for."""
        return self._thread.value.reached.is_set()

    def release(self) -> None:
        """Have `/slow` answer from now on."""
        self._thread.call(lambda origin: origin.release.set())


@contextmanager
def serving(port: int = 0, *, tls: ssl.SSLContext | None = None) -> Iterator[HostedOrigin]:
    """Run an origin that says hello in a thread of its own."""
    with hosted(lambda: run_origin(port=port, page=b"hello from the origin", tls=tls), "origin") as thread:
        yield HostedOrigin(thread)


_MARKS = b"X-Origin: yes\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"


def _whole(body: bytes, headers: bytes = b"", status: int = 200) -> bytes:
    """Write a whole answer; one with 204 or 304 has no length."""
    length = b"" if status in {204, 304} else b"Content-Length: %d\r\n" % len(body)
    return b"HTTP/1.1 %d Words\r\n%b%b\r\n%b" % (status, length, headers, body)


# Answers that no server writes, or that only some write.
_ODD = {
    "odd": b"HTTP/1.1 299 Odd\r\nSet-Cookie: a=1\r\nX-Multi: one\r\nSet-Cookie: b=2\r\nX-MULTI: two\r\n"
    b"Content-Length: 3\r\n\r\nodd",
    "trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n",
    "not-modified": b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 1234\r\n\r\n',
    "empty": b"HTTP/1.1 204 No Content\r\nX-Empty: yes\r\n\r\n",
    "long-head": b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n",
    "interim": b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + _whole(b"after 103"),
}


def _text(items: list[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in items]


async def _mirror(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Answer with everything of the request; names in lower case."""
    body = (await asked.whole()).decode()
    headers, trailers = ([(name.lower(), value) for name, value in pairs] for pairs in (asked.headers, asked.trailers))
    told = {"method": asked.method, "headers": headers, "body": body, "trailers": trailers}
    writer.write(_whole(json.dumps(told).encode(), _MARKS))


async def _digest(asked: Asked, writer: asyncio.StreamWriter) -> None:
    digest, size = hashlib.sha256(), 0
    async for data in asked.body():
        digest.update(data)
        size += len(data)
    told = {"sha256": digest.hexdigest(), "size": size, "chunked": asked.header("transfer-encoding")}
    writer.write(_whole(json.dumps(told).encode()))


async def _send_bytes(asked: Asked, writer: asyncio.StreamWriter, size: int, *, chunked: bool) -> None:
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n%b\r\n\r\n" % framing)
    if asked.method == "HEAD":
        return
    for part in blob(size):
        if part:
            writer.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
            await writer.drain()
    if chunked:
        writer.write(b"0\r\n\r\n")


async def _stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Upgrade, then send back what comes, between two words of its own."""
    accept = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n%b\r\n" % accept)
    writer.write(b"hello from the origin;")
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write(b"bye")


async def _websocket(asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Echo every message until the client closes."""
    protocol = ServerProtocol(max_size=None)
    protocol.receive_data(asked.raw + asked.behind)
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
