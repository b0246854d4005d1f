"""The origin of the bench, a process of its own: `/` is a small answer, `/N` is N bytes; a body is read and dropped.

Prints its port. It is as cheap as it can be, so that what is measured is what lies before it.
"""

from __future__ import annotations

import asyncio

BLOCK = bytes(256 * 1024)
SMALL = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"


class Connection(asyncio.Protocol):
    """Answers on one connection until the client leaves."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        self.transport = transport
        self.head = b""
        self.unread = 0
        self.unsent = 0
        self.paused = False

    def data_received(self, data: bytes) -> None:
        """Take a head, or a part of a body."""
        if self.unread:
            self.unread -= len(data)
            if not self.unread:
                self.transport.write(SMALL)
            return
        self.head += data
        head, end, body = self.head.partition(b"\r\n\r\n")
        if end:
            self.head = b""
            self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        """Answer a request whose head is there."""
        size = int(head.split(b" ", 2)[1].lstrip(b"/") or b"0")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        self.unread = int(length or b"0") - len(body)
        if self.unread:
            return
        if not size:
            self.transport.write(SMALL)
            return
        self.unsent = size
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        self.send()

    def send(self) -> None:
        """Send the body as fast as it is taken."""
        while self.unsent and not self.paused:
            part = BLOCK[: self.unsent]
            self.unsent -= len(part)
            self.transport.write(part)

    def pause_writing(self) -> None:
        """Wait."""
        self.paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self.paused = False
        self.send()


async def main() -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
