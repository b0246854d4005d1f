"""The load of the bench, a process of its own: `load.py PORT HOST KIND CLIENTS AMOUNT` prints one number.

KIND `small`: GETs a second, CLIENTS at once, for AMOUNT seconds. KIND `down` and `up`: MB a second of AMOUNT MB in one body.
Its HTTP is what the bench's origin speaks and no more, so that it costs little itself.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time

OK = b"HTTP/1.1 200 "
SMALL_BODY = b"\r\n\r\nhello"
BLOCK = bytes(256 * 1024)


class Client(asyncio.Protocol):
    """Asks again and again on one connection until the time is over."""

    def __init__(self, host: str, end: float) -> None:
        self.request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        self.end = end
        self.seen = b""
        self.count = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ask for the first time."""
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Count a whole answer and ask again."""
        self.seen += data
        if not self.seen.startswith(OK):
            self.transport.close()
        if not self.seen.endswith(SMALL_BODY):
            return
        self.seen = b""
        if time.perf_counter() < self.end:
            self.count += 1
            self.transport.write(self.request)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self.seen or exc:
            self.done.set_exception(exc or RuntimeError(f"unexpected answer: {self.seen[:80]!r}"))
        else:
            self.done.set_result(self.count)


async def small(port: int, host: str, clients: int, seconds: float) -> float:
    """Return small requests per second."""
    loop = asyncio.get_running_loop()
    end = time.perf_counter() + seconds
    pairs = [await loop.create_connection(lambda: Client(host, end), "127.0.0.1", port) for _ in range(clients)]
    return sum([await client.done for _, client in pairs]) / seconds


def body(port: int, host: str, kind: str, megabytes: float) -> float:
    """Return the MB per second of one body."""
    size = int(megabytes * 1_000_000)
    down = kind == "down"
    path, length = (f"/{size}", 0) if down else ("/", size)
    method = "GET" if down else "POST"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        began = time.perf_counter()
        said = f"Content-Length: {length}\r\n" if length else ""
        connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{said}\r\n".encode())
        for start in range(0, length, len(BLOCK)):
            connection.sendall(BLOCK[: length - start])
        answer = connection.recv(65_536)
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65_536)
        if not answer.startswith(OK):
            raise RuntimeError(f"unexpected answer: {answer[:80]!r}")
        left = (size if down else len(b"hello")) - len(answer.partition(b"\r\n\r\n")[2])
        buffer = bytearray(len(BLOCK))
        while left:
            count = connection.recv_into(buffer)
            if not count:
                raise RuntimeError(f"the answer ended {left} bytes early")
            left -= count
        return megabytes / (time.perf_counter() - began)


def main() -> None:
    """Run one load."""
    port, host, kind, clients, amount = sys.argv[1:]
    if kind == "small":
        print(asyncio.run(small(int(port), host, int(clients), float(amount))))
    else:
        print(body(int(port), host, kind, float(amount)))


main()
