"""A service that speaks HTTP/1.1 and misbehaves in a few ways of its own, chosen by chance."""

import asyncio
import select
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

from tests.lab.connector.exchanges.http1_habits import HABITS, Asked, answer, honest
from tests.lab.connector.exchanges.marks import marks_in
from tests.support.servers import listening


class Http1Origin:
    """Takes connections; `unread` of its exchanges leave the request's body unread and take it for the next request."""

    def __init__(self, rng: Random, report: Callable[[str], None], habits: list[str] | None = None) -> None:
        self.rng = rng
        self.report = report
        self.names = habits or rng.sample(sorted(HABITS), rng.choice([1, 2, 4]))
        self.share = rng.choice([0.05, 0.2, 0.6])  # of its answers that misbehave
        self.unread = rng.choice([0, 0, 0.3])
        self.url = ""
        self.connections = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Http1Origin"]:
        """Listen until the block ends."""
        async with listening(self._serve) as served:
            self.url = served.url
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await _Connection(self, reader, writer).run()


class _Connection:
    """One connection; it is the `Wire` of the habits."""

    def __init__(self, origin: Http1Origin, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.rng = origin.rng
        self._origin = origin
        self._reader = reader
        self._writer = writer
        self._idle = False

    async def run(self) -> None:
        """Answer requests until a habit, or the client, ends it."""
        going_on = True
        while going_on:
            self._idle = True
            head = await self._reader.readuntil(b"\r\n\r\n")
            self._idle = False
            unread = self.rng.random() < self._origin.unread
            body = b"" if unread else await self._body(head.lower())
            marks = marks_in(head + body)
            if len(marks) != 1 or not head.startswith((b"GET", b"HEAD", b"POST", b"PUT", b"TRACE")):
                if len(marks) > 1:
                    self._origin.report(f"one request holds {marks}")
                mark = next(iter(marks), b"")
                await self.write(answer(mark, mark, status=b"400 Bad Request"))
                return
            asked = Asked(head.partition(b" ")[0], marks.pop())
            name = self.rng.choice(self._origin.names) if self.rng.random() < self._origin.share else ""
            going_on = await HABITS.get(name, honest)(self, asked)

    async def _body(self, head: bytes) -> bytes:
        if b"transfer-encoding: chunked" in head:
            body = b""
            while size := int(await self._reader.readuntil(b"\r\n"), 16):
                body += (await self._reader.readexactly(size + 2))[:-2]
            await self._reader.readuntil(b"\r\n")
            return body
        _, found, rest = head.partition(b"content-length: ")
        return await self._reader.readexactly(int(rest.partition(b"\r\n")[0])) if found else b""

    async def write(self, data: bytes) -> None:
        """Send bytes now."""
        self._writer.write(data)
        await self._writer.drain()

    async def pause(self, seconds: float) -> None:
        """Pause in the middle of an answer."""
        await asyncio.sleep(seconds)

    def later(self, seconds: float, data: bytes) -> None:
        """Send bytes later, unless another request has come by then: to that they would simply be the answer."""

        def send() -> None:
            if self._idle and not self._reader._buffer and not self._writer.is_closing():  # type: ignore[attr-defined]
                poll = select.poll()
                poll.register(self._writer.get_extra_info("socket").fileno(), select.POLLIN)
                if not poll.poll(0):
                    self._writer.write(data)

        asyncio.get_running_loop().call_later(seconds, send)

    def reset(self) -> None:
        """Break the connection off with a TCP reset."""
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
