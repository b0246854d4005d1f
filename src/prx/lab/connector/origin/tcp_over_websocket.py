"""Carry a service that speaks TCP and not HTTP: a visitor's WebSocket on one side, the service's bytes on the other.

`cloudflared access tcp` is such a visitor. The connection to the service is opened first: if that fails, the visitor's
WebSocket is refused. Each piece that the service sends is one binary message; of the visitor's messages the bytes count,
not their bounds. Nothing can be half closed: the side that ends first ends both, and the service's end is not said in a
close frame. A ping every 54 s keeps the way open. Observed with cloudflared 2026.8.2.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from contextlib import suppress
from typing import Final

from prx.core.numbers import whole
from prx.lab.connector.go_errors import dial_text
from prx.lab.connector.origin.exchanges import Answer, Headers, OriginError
from prx.lab.connector.origin.ingress import StreamService
from prx.lab.connector.origin.messages import Incoming, Request, Response
from prx.lab.connector.origin.pool import connect
from prx.lab.connector.origin.websocket import PING, FrameError, VisitorFrames, message
from prx.lab.protocol.errors import StreamError

PING_SECONDS: Final = 54.0
_CHUNK: Final = 64 * 1024
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_JUMP: Final = b"cf-access-jump-destination"
_NO_DESTINATION: Final = (
    "Did not receive final destination from client. The --destination flag is likely not set on the client side"
)


def destination(service: StreamService, request: Request) -> tuple[str, int]:
    """Return host and port to dial: those of the service, or for a bastion those that the visitor names.

    Raises OriginError if there is none.
    """
    if not service.bastion:
        if service.port is None:
            raise OriginError(f"dial tcp: address {service.host}: missing port in address")
        return service.host, service.port
    text = request.header(_JUMP).decode("latin-1")
    if not text:
        raise OriginError(_NO_DESTINATION)
    named = text.rpartition("://")[2].partition("/")[0]
    host, _, port = named.rpartition(":")
    number = whole(port)
    if not host or number is None or number > 0xFFFF:
        raise OriginError(f"dial tcp: address {named}: missing port in address")
    return host.strip("[]"), number


async def dial(host: str, port: int, limit: float) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection within `limit` seconds. Raises OriginError."""
    try:
        async with asyncio.timeout(limit):
            return await asyncio.open_connection(sock=await connect(host, port), limit=_CHUNK)
    except OSError as error:
        raise OriginError(dial_text("tcp", f"[{host}]:{port}" if ":" in host else f"{host}:{port}", error)) from None


def accepted(request: Request) -> Answer:
    """Return the answer that accepts a WebSocket; without a key none was asked for, and nothing proves it."""
    key = request.header(b"sec-websocket-key")
    proof = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    headers: Headers = [(b"Connection", b"Upgrade"), (b"Sec-Websocket-Accept", proof), (b"Upgrade", b"websocket")]
    return Answer(101, "Switching Protocols", headers if key else [])


class JoinedStreams:
    """A visitor's WebSocket and a service's connection, joined until one of them ends."""

    def __init__(
        self,
        incoming: Incoming,
        response: Response,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        ping_seconds: float = PING_SECONDS,
    ) -> None:
        self._incoming = incoming
        self._response = response
        self._reader = reader
        self._writer = writer
        self._ping_seconds = ping_seconds
        self._sending = asyncio.Lock()  # a stream has one sender at a time, and a frame is not cut in two

    async def run(self) -> None:
        """Bytes both ways."""
        async with asyncio.TaskGroup() as tasks:
            up = tasks.create_task(self._to_service(), name="visitor to service")
            down = tasks.create_task(self._to_visitor(), name="service to visitor")
            pings = tasks.create_task(self._ping(), name="pings to the visitor")
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            for task in (up, down, pings):
                task.cancel()

    async def _to_service(self) -> None:
        frames = VisitorFrames()
        with suppress(StreamError, OSError, FrameError):
            while not frames.closed and (data := await self._incoming.read()):
                payload = frames.feed(data)
                if replies := frames.take_replies():
                    await self._send(replies)
                if payload:
                    self._writer.write(payload)
                    await self._writer.drain()

    async def _to_visitor(self) -> None:
        with suppress(StreamError, OSError):
            while data := await self._reader.read(_CHUNK):
                await self._send(message(data))

    async def _ping(self) -> None:
        with suppress(StreamError):
            while True:
                await asyncio.sleep(self._ping_seconds)
                await self._send(PING)

    async def _send(self, data: bytes) -> None:
        async with self._sending:
            await self._response.data(data)
