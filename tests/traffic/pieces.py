"""A relay between a real service and a raw visitor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from tests.support.waits import PATIENCE

from prx.traffic.exchange import Exchange
from prx.traffic.guard import GuardedRelay
from prx.traffic.relay import Relay, Target
from prx.traffic.ring import Ring
from prx.traffic.tee import Copier

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def service(handler: Handler, **more: Any) -> AsyncIterator[int]:
    """Run a service; yield its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        writer.close()

    writers: list[asyncio.StreamWriter] = []

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Awaitable[None]:
        writers.append(writer)
        return serve(reader, writer)

    server = await asyncio.start_server(begin, "127.0.0.1", 0, **more)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for writer in writers:
            with suppress(AttributeError):  # a transport that is closed already has no loop any more
                writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


@asynccontextmanager
async def relaying(
    port: int, *, keep: int = 100, target: Target | None = None, kind: type[GuardedRelay] = GuardedRelay
) -> AsyncIterator[GuardedRelay]:
    """Run a relay to the service on `port`."""
    relay = kind(target or Target("127.0.0.1", port), Copier(Ring(keep, 64_000_000), "web", lambda: 1_800_000_000.0))
    await relay.start()
    try:
        yield relay
    finally:
        await relay.close()


def kept(relay: Relay) -> list[Exchange]:
    """Return what the relay has seen."""
    relay.copier.read_all()
    return list(relay.copier.ring)


async def ask(port: int, raw: bytes) -> bytes | str:
    """Write `raw`, end it, and return all that comes back; "reset" if the connection is broken."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(PATIENCE):
            writer.write(raw)
            writer.write_eof()
            return await reader.read()
    except ConnectionError:
        return "reset"
    finally:
        writer.transport.abort()


async def read_head(reader: asyncio.StreamReader) -> bytes:
    """Read a head."""
    return await reader.readuntil(b"\r\n\r\n")
