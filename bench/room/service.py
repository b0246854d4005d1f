"""The local service of a scene, a program: `python -m bench.room.service PORT [MODE …]`; prints its port.

Each line on stdin sets a mode:

    ok               200
    status N         N for everyone
    visitors N       N for those who come through the tunnel (X-Forwarded-For), 200 for others
    hang             no answer, ever
    hang-up          connections of those who come through the tunnel are closed without an answer
    slow SECONDS     200, late
"""

from __future__ import annotations

import asyncio
import sys

BODY = b"hello"


class Mode:
    """How requests are answered now."""

    def __init__(self, words: list[str]) -> None:
        self.words = words or ["ok"]


class Connection(asyncio.Protocol):
    """Answers on one connection until the client leaves."""

    def __init__(self, mode: Mode) -> None:
        self._mode = mode
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request whose head is there; bodies are not expected."""
        self._head += data
        while b"\r\n\r\n" in self._head:
            head, _, self._head = self._head.partition(b"\r\n\r\n")
            self._answer(through_tunnel=b"\r\nx-forwarded-for:" in head.lower())

    def _answer(self, *, through_tunnel: bool) -> None:
        match self._mode.words:
            case ["hang"]:
                return
            case ["hang-up"] if through_tunnel:
                self._transport.close()
            case ["status", code]:
                self._send(int(code))
            case ["visitors", code] if through_tunnel:
                self._send(int(code))
            case ["slow", seconds]:
                asyncio.get_running_loop().call_later(float(seconds), self._send, 200)
            case _:
                self._send(200)

    def _send(self, code: int) -> None:
        if not self._transport.is_closing():
            self._transport.write(b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\n\r\n%s" % (code, len(BODY), BODY))


async def main() -> None:
    """Serve until killed."""
    mode = Mode(sys.argv[2:])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(mode), "127.0.0.1", int(sys.argv[1]), backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        mode.words = line.decode().split() or ["ok"]
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
