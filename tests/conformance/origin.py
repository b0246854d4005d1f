"""The local service that conformance is measured with: that of all tests, and what only these cases need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

from tests.support.origin import Asked, Origin

LARGE = 32 * 1024  # bytes of one header
ORDER = ("Zulu", "Alpha", "Mike", "Bravo", "Yankee", "Golf", "Oscar", "Delta")  # by chance in order once in 40,320 times


class Service(Origin):
    """An `Origin` with more paths; `name` is what `/name` answers, `together` counts those who wait at `/together`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.together = 0
        self._all_there = asyncio.Event()
        self.received: list[tuple[str, str]] = []

    async def answer(self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer by path."""
        match urlsplit(asked.target).path:
            case "/name":
                writer.write(_whole(self.name.encode()))
            case "/together":
                await self._wait_for_all(asked, writer)
            case "/hints":
                writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n" + _whole(b"hints"))
            case "/ordered":
                names = b"".join(b"X-%b: 1\r\n" % name.encode() for name in ORDER)
                writer.write(_whole(b"ordered", names))
            case "/large":
                writer.write(_whole(b"large", b"X-Large: " + b"x" * LARGE + b"\r\n"))
            case "/take-trailers":
                await asked.whole()
                self.received = asked.trailers
                writer.write(_whole(b"taken"))
            case _:
                await super().answer(asked, reader, writer)

    async def _wait_for_all(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        """Answer none until as many as are expected are here."""
        query = parse_qs(urlsplit(asked.target).query)
        self.together += 1
        if self.together == int(query["n"][0]):
            self._all_there.set()
        await self._all_there.wait()
        writer.write(_whole(query["id"][0].encode()))


@asynccontextmanager
async def serving(name: str) -> AsyncIterator[Service]:
    """Run a service for the length of a block."""
    service = Service(name)
    await service.resume()
    try:
        yield service
    finally:
        await service.close()


def _whole(body: bytes, headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), headers, body)
