"""A proxy that leads `TEAM.cloudflareaccess.com` to the lab, for programs that fetch the keys of Access from there.

cloudflared takes the keys that it verifies `Cf-Access-Jwt-Assertion` with from its team's domain, and no setting leads it
elsewhere; but it obeys HTTPS_PROXY there, as Go programs do (CONNECT, RFC 9110, 9.3.6). Other hosts are connected to as they
are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

TEAM_DOMAIN: Final = ".cloudflareaccess.com"
_HEAD: Final = 16 << 10
_CHUNK: Final = 1 << 16
_REFUSED: Final = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

Spawn = Callable[[Coroutine[Any, Any, None], str], None]


class TeamProxy:
    """Listens on loopback; `secure_port` is where the lab's visitors come over HTTPS."""

    def __init__(self, secure_port: int, spawn: Spawn) -> None:
        self._secure_port = secure_port
        self._spawn = spawn
        self._server: asyncio.Server | None = None

    async def listen(self) -> int:
        """Begin, and return the port."""

        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._spawn(self._serve(reader, writer), "team proxy")

        self._server = await asyncio.start_server(accepted, "127.0.0.1", 0, limit=_HEAD)
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Take no connection any more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                method, target, *_ = head.split(b" ", 2)
                host, _, port = target.decode("ascii").rpartition(":")
                if method != b"CONNECT" or not host:
                    writer.write(_REFUSED)
                    return
                place = ("127.0.0.1", self._secure_port) if host.endswith(TEAM_DOMAIN) else (host.strip("[]"), int(port))
                await _relay(reader, writer, *place)
            finally:
                writer.close()


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
    try:
        their_reader, their_writer = await asyncio.open_connection(host, port)
    except OSError:
        writer.write(_REFUSED)
        return
    try:
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(reader, their_writer), name="to the host")
            group.create_task(_copy(their_reader, writer), name="from the host")
    finally:
        their_writer.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await source.read(_CHUNK):
            sink.write(chunk)
            await sink.drain()
        sink.write_eof()
