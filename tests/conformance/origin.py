"""The local service that conformance is measured with: that of the edge's tests, and what only these cases need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

from tests.lab.edge.origin import Asked, Origin

from prx.lab.edge.task_group import ServerTaskGroup

LARGE = 32 * 1024  # bytes of one header
ORDER = ("Zulu", "Alpha", "Mike", "Bravo", "Yankee", "Golf", "Oscar", "Delta")  # by chance in order once in 40,320 times


class Service(Origin):
    """An `Origin` with more paths; `name` is what `/name` answers, `together` counts those who wait at `/together`."""

    def __init__(self, group: ServerTaskGroup, name: str) -> None:
        super().__init__(group)
        self.name = name
        self.together = 0
        self._all_there = asyncio.Event()
        self.trailers: list[str] = []
        self._crew = group
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def resume(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=1024 * 1024, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    async def pause(self) -> None:
        """Refuse connections, and break those that there are."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._crew.create_task(self._hold(reader, writer), name="service")

    async def _hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        await self.serve(reader, writer)
        self._writers.discard(writer)

    async def _answer(self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
            case "/trailers":
                writer.write(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n"
                )
            case "/take-trailers":
                self.trailers = await _read_chunked_with_trailers(reader)
                writer.write(_whole(b"taken"))
            case _:
                await super()._answer(asked, reader, writer)

    async def _wait_for_all(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        """Answer nobody until as many as are expected are here."""
        query = parse_qs(urlsplit(asked.target).query)
        self.together += 1
        if self.together == int(query["n"][0]):
            self._all_there.set()
        await self._all_there.wait()
        writer.write(_whole(query["id"][0].encode()))


@asynccontextmanager
async def serving(name: str) -> AsyncIterator[Service]:
    """Run a service for the length of a block."""
    async with ServerTaskGroup() as group:
        service = Service(group, name)
        await service.resume()
        yield service
        await service.pause()


def _whole(body: bytes, headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), headers, body)


async def _read_chunked_with_trailers(reader: asyncio.StreamReader) -> list[str]:
    """Read a body in chunks; give the lines behind it."""
    while size := int(await reader.readline(), 16):
        await reader.readexactly(size + 2)
    lines = []
    while line := (await reader.readline()).strip():
        lines.append(line.decode("latin-1"))
    return lines
