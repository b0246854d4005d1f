"""Services that speak TCP and not HTTP: through a WebSocket, and through the visitor that cloudflared has for them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from tests.conformance.checks import leading_to, require, websocket
from tests.conformance.outcome import NotAvailableError, NotCarriedError
from tests.conformance.scene import Scene
from tests.lab.edge.cloudflared import VARIABLE
from tests.support.origin import BLOCK
from tests.support.waits import PATIENCE
from websockets.exceptions import ConnectionClosed, InvalidStatus

from prx.lab.edge.task_group import ServerTaskGroup

SIZE = 40 * len(BLOCK)  # 10 MiB
PIECE = 16 * 1024  # bytes of a message; cloudflared loses what is beyond that

_Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def through_websocket(scene: Scene) -> None:
    """10 MiB each way at once through a WebSocket of an ordinary client."""
    async with asyncio.timeout(PATIENCE), _tcp_service(scene, _echo), websocket(scene) as socket, asyncio.TaskGroup() as group:
        group.create_task(_send_messages(socket.send))
        received = bytearray()
        while len(received) < SIZE:
            received += await socket.recv(decode=False)
        require("what came back", bytes(received) == BLOCK * 40, True)


async def through_access(scene: Scene) -> None:
    """10 MiB each way at once through `cloudflared access tcp`."""
    async with asyncio.timeout(PATIENCE), _tcp_service(scene, _echo), _access(scene) as stream, asyncio.TaskGroup() as group:
        reader, writer = stream
        group.create_task(_send_stream(writer))
        require("what came back", await reader.readexactly(SIZE) == BLOCK * 40, True)


async def long_messages(scene: Scene) -> None:
    """A message of 64 KiB reaches the service whole."""
    async with asyncio.timeout(PATIENCE), _tcp_service(scene, _echo), websocket(scene) as socket:
        await socket.send(b"x" * 65536)
        await socket.send(b"end")
        received = b""
        while not received.endswith(b"end"):
            received += await socket.recv(decode=False)
        require("bytes of a message of 65536", len(received) - 3, 65536)


async def both_ends(scene: Scene) -> None:
    """Everything arrives that was said before either side ended."""
    await _service_ends(scene)
    await _visitor_ends(scene)


async def _service_ends(scene: Scene) -> None:
    """What a service says before it closes arrives, and then the visitor's WebSocket ends."""

    async def farewell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 50_000)

    async with asyncio.timeout(PATIENCE), _tcp_service(scene, farewell), websocket(scene) as socket:
        received = b""
        with suppress(ConnectionClosed):
            while True:
                received += await socket.recv(decode=False)
        require("bytes before the end", len(received), 50_000)


async def _visitor_ends(scene: Scene) -> None:
    """What a visitor sends before closing arrives, and then the service's connection ends."""
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def hear(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        heard.put_nowait(await reader.read())

    async with asyncio.timeout(PATIENCE), _tcp_service(scene, hear), websocket(scene) as socket:
        await socket.send(b"x" * 10_000)
        await socket.close(4001)
        require("bytes before the end", len(await heard.get()), 10_000)
        require("code of the end", socket.close_code, 4001)


async def half_closed(scene: Scene) -> None:
    """A visitor who has said all still hears the service."""

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.write(b"late answer")

    async with asyncio.timeout(PATIENCE), _tcp_service(scene, late), _access(scene) as (reader, writer):
        writer.write(b"question")
        writer.write_eof()
        if not (answer := await reader.read()):
            raise NotCarriedError("the end of one direction ends both")
        require("answer", answer, b"late answer")


async def service_refuses(scene: Scene) -> None:
    """A service that refuses the connection is a WebSocket that is refused with 502."""
    async with _tcp_service(scene, _echo) as server:
        server.close()
        await server.wait_closed()
        try:
            async with asyncio.timeout(PATIENCE), websocket(scene):
                raise AssertionError("the WebSocket was accepted")
        except InvalidStatus as error:
            require("status", error.response.status_code, 502)


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def _send_messages(send: Callable[[bytes], Awaitable[None]]) -> None:
    for number in range(SIZE // PIECE):
        start = number * PIECE % len(BLOCK)
        await send(BLOCK[start : start + PIECE])


async def _send_stream(writer: asyncio.StreamWriter) -> None:
    for _ in range(SIZE // len(BLOCK)):
        writer.write(BLOCK)
        await writer.drain()


@asynccontextmanager
async def _tcp_service(scene: Scene, serve: _Serve) -> AsyncIterator[asyncio.Server]:
    """Run a service that the tunnel leads to."""

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                await serve(reader, writer)
        finally:
            writer.close()

    async with ServerTaskGroup() as crew:

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            crew.create_task(hold(reader, writer), name="tcp-service")

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            async with leading_to(scene, f"tcp://127.0.0.1:{port}", {}):
                yield server
        finally:
            server.close()


@asynccontextmanager
async def _access(scene: Scene) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect through `cloudflared access tcp`, whose stdin and stdout are then the stream, as for `ssh -o ProxyCommand`."""
    path = os.environ.get(VARIABLE, "")
    if not path:
        raise NotAvailableError(f"{VARIABLE} names no cloudflared")
    public = f"{scene.hostname}:{urlsplit(scene.lab.public_https).port}"
    program = await asyncio.create_subprocess_exec(
        path, "access", "tcp", "--hostname", public, "--connect-to", f"{public}:127.0.0.1",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert program.stdin is not None
        assert program.stdout is not None
        yield program.stdout, program.stdin
    finally:
        if program.returncode is None:
            program.kill()
        await program.wait()
        program._transport.close()  # type: ignore[attr-defined]
