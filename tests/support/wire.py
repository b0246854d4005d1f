"""HTTP/1.1 on h11, where a test must see what is on the wire and when, or must write what no client would."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import h11

from prx.lab import Lab


@dataclass
class Reply:
    """A whole response; of a body longer than 1 MiB only length and digest are kept."""

    status: int
    headers: list[tuple[str, str]]
    interim: list[int]
    body: bytes = b""
    size: int = 0
    digest: str = ""
    trailers: list[tuple[str, str]] = field(default_factory=list)

    def header(self, name: str) -> str:
        """The last value of a header, or ''."""
        return {key.lower(): value for key, value in self.headers}.get(name, "")

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Visitor:
    """One connection to the public side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self.reader = reader
        self.writer = writer
        self.host = host
        self.h11 = h11.Connection(h11.CLIENT)

    async def send_head(self, method: str, path: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Send a request's head."""
        names = {name.lower() for name, _ in headers}
        host = [] if "host" in names else [("Host", self.host)]
        await self._send(h11.Request(method=method, target=path, headers=[*host, *headers]))

    async def send_body(self, parts: Iterable[bytes]) -> None:
        """Send the body and its end."""
        for part in parts:
            await self._send(h11.Data(data=part))
        await self._send(h11.EndOfMessage())

    async def read_reply(self, *, head_only: bool = False) -> Reply:
        """Wait for the response, or for its head."""
        interim: list[int] = []
        while not isinstance(event := await self.next_event(), h11.Response):
            assert isinstance(event, h11.InformationalResponse), event
            interim.append(event.status_code)
            if event.status_code == 101:
                break
        reply = Reply(event.status_code, _text(event.headers.raw_items()), interim)
        return reply if head_only or event.status_code == 101 else await self._read_body(reply)

    async def next_event(self) -> h11.Event:
        """Wait for the next event of the response; ConnectionError when the connection breaks first."""
        try:
            while (event := self.h11.next_event()) is h11.NEED_DATA:
                self.h11.receive_data(await self.reader.read(256 * 1024))
        except h11.RemoteProtocolError as error:
            raise ConnectionError(str(error)) from error
        if not isinstance(event, h11.Event) or isinstance(event, h11.ConnectionClosed):
            raise ConnectionError("the connection was closed")
        return event

    async def _read_body(self, reply: Reply) -> Reply:
        digest = hashlib.sha256()
        while isinstance(event := await self.next_event(), h11.Data):
            reply.size += len(event.data)
            digest.update(event.data)
            if reply.size <= 1024 * 1024:
                reply.body += event.data
        assert isinstance(event, h11.EndOfMessage)
        reply.trailers = _text(event.headers.raw_items())
        reply.digest = digest.hexdigest()
        return reply

    async def _send(self, event: h11.Event) -> None:
        self.writer.write(self.h11.send(event) or b"")
        await self.writer.drain()


def _text(items: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in items]


@asynccontextmanager
async def visiting(lab: Lab, host: str, *, tls: bool = False) -> AsyncIterator[Visitor]:
    """Connect to the lab's public side for the length of a block."""
    port = urlsplit(lab.public_https if tls else lab.public).port
    context = ssl.create_default_context(cafile=str(lab.ca_file)) if tls else None
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=host if tls else None)
    try:
        yield Visitor(reader, writer, host)
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


async def get(
    lab: Lab,
    host: str,
    path: str = "/",
    *,
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
    body: Iterable[bytes] = (),
    tls: bool = False,
) -> Reply:
    """Send one request on a connection of its own and wait for the whole response."""
    async with visiting(lab, host, tls=tls) as visitor:
        await visitor.send_head(method, path, headers)
        await visitor.send_body(body)
        return await visitor.read_reply()


@dataclass
class Heard:
    """What came back for bytes that a test wrote: status 0 for no answer; `whole` when the body came to its proper end."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    whole: bool = False


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, raw: bytes, *, method: str = "GET") -> Heard:
    """Write `raw` as it stands, read one answer to it, and close the connection."""
    heard, client = Heard(), h11.Connection(h11.CLIENT)
    for event in (h11.Request(method=method, target="/", headers=[("Host", "x")]), h11.EndOfMessage()):
        client.send(event)  # tells h11 how to read the answer
    try:
        with suppress(OSError, h11.RemoteProtocolError):
            writer.write(raw)
            await _hear(heard, client, reader)
    finally:
        writer.transport.abort()
    return heard


async def _hear(heard: Heard, client: h11.Connection, reader: asyncio.StreamReader) -> None:
    while not isinstance(event := client.next_event(), h11.EndOfMessage | h11.ConnectionClosed):
        if event is h11.NEED_DATA:
            client.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Response):
            heard.status, heard.headers = event.status_code, _text(event.headers.raw_items())
        elif isinstance(event, h11.Data):
            heard.body += event.data
    heard.whole = isinstance(event, h11.EndOfMessage)
