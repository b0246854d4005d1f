"""What a relay has to bear: large bodies, many idle connections, peers that stall, hang or end half.

Memory is that of the process that relays. Each scene returns what was measured, in a sentence, and raises AssertionError if
that is not as it should be.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import psutil

MB = 1024 * 1024
FLAT = 100 * MB  # more than this above the start is no flat memory: 64 MB are kept, 8 MB of the copy wait
PIECE = b"x" * 262144
WEBSOCKETS = 1000

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


@dataclass
class Scene:
    """A relay in a process of its own, in front of a service in this one."""

    port: int
    process: psutil.Process
    start: int  # bytes of memory, before anything passed
    most: int = 0

    def look(self) -> int:
        """Return how many bytes of memory the relay has now; note the most."""
        now = int(self.process.memory_info().rss)
        self.most = max(self.most, now)
        return now

    @property
    def grown(self) -> str:
        """Return how far the memory grew."""
        return f"memory {self.start // MB} MB at the start, at most {self.most // MB} MB"

    def assert_flat(self) -> None:
        """Hold that it did not grow with what passed."""
        assert self.most - self.start < FLAT, self.grown

    async def open(self) -> tuple[Reader, Writer]:
        """Connect as a connector does."""
        return await asyncio.open_connection("127.0.0.1", self.port)


@asynccontextmanager
async def relayed(handler: Callable[[Reader, Writer], Awaitable[None]]) -> AsyncIterator[Scene]:
    """Run a service, and a relay in front of it."""

    async def serve(reader: Reader, writer: Writer) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=2000)
    port = server.sockets[0].getsockname()[1]
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.relay.child", str(port), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    try:
        relay_port = int(await child.stdout.readline())
        process = psutil.Process(child.pid)
        yield Scene(relay_port, process, int(process.memory_info().rss))
    finally:
        child.kill()
        await child.wait()
        server.close()


async def head_of(reader: Reader) -> bytes:
    """Read a head."""
    return await reader.readuntil(b"\r\n\r\n")


async def streamed(megabytes: int = 500) -> str:
    """Stream an answer in chunks."""

    async def answer(reader: Reader, writer: Writer) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(megabytes * 4):
            writer.write(b"40000\r\n" + PIECE + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    async with relayed(answer) as scene:
        reader, writer = await scene.open()
        began, size = time.monotonic(), 0
        writer.write(b"GET /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while data := await reader.read(MB):
            size += len(data)
            if size % (16 * MB) < len(data):
                scene.look()
        seconds = time.monotonic() - began
        assert size > megabytes * MB
        scene.assert_flat()
        writer.close()
        return f"{size // MB} MB in {seconds:.1f} s ({size / MB / seconds:,.0f} MB/s); {scene.grown}"


async def body(megabytes: int = 1024) -> str:
    """Upload a body with a length."""

    async def answer(reader: Reader, writer: Writer) -> None:
        await head_of(reader)
        size = 0
        while size < megabytes * MB and (data := await reader.read(MB)):
            size += len(data)
        said = str(size).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(said) + said)

    async with relayed(answer) as scene:
        reader, writer = await scene.open()
        began = time.monotonic()
        writer.write(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (megabytes * MB))
        for number in range(megabytes * 4):
            writer.write(PIECE)
            await writer.drain()
            if number % 64 == 0:
                scene.look()
        answered = await reader.read()
        assert answered.endswith(str(megabytes * MB).encode()), answered
        scene.assert_flat()
        writer.close()
        return f"{megabytes} MB in {time.monotonic() - began:.1f} s; {scene.grown}"


async def websockets(count: int = WEBSOCKETS) -> str:
    """Open WebSockets that rest, then have each carry a message."""

    async def answer(reader: Reader, writer: Writer) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        while data := await reader.read(100):
            writer.write(data)

    async with relayed(answer) as scene:
        opened = []
        for _ in range(count):
            reader, writer = await scene.open()
            writer.write(b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            await head_of(reader)
            opened.append((reader, writer))
        each = (scene.look() - scene.start) / count
        spent = scene.process.cpu_times()
        await asyncio.sleep(2)
        idle = scene.process.cpu_times()
        began = time.monotonic()
        for reader, writer in opened:
            writer.write(b"\x81\x02hi")
            assert await reader.readexactly(4) == b"\x81\x02hi"
        seconds = time.monotonic() - began
        for _, writer in opened:
            writer.transport.abort()
        busy = (idle.user + idle.system - spent.user - spent.system) / 2
        rest = f"{busy:.1%} of a core while they rest"
        return f"{count} open, {each / 1024:.0f} KiB each; {rest}; a message on each in {seconds:.1f} s"


async def stalled() -> str:
    """Have a visitor take nothing; others are served meanwhile."""
    written = 0

    async def answer(reader: Reader, writer: Writer) -> None:
        nonlocal written
        if b"/quick" in await head_of(reader):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            return
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.transport.set_write_buffer_limits(high=65536)
        while True:
            writer.write(PIECE[:65536])
            await writer.drain()
            written += 65536

    async with relayed(answer) as scene:
        _, stuck = await asyncio.open_connection("127.0.0.1", scene.port, limit=1024)
        stuck.write(b"GET /all HTTP/1.1\r\nHost: x\r\n\r\n")
        before = -1
        while before != written:
            before = written
            await asyncio.sleep(0.5)
        times = [await quick(scene) for _ in range(100)]
        scene.look()
        scene.assert_flat()
        stuck.transport.abort()
        return f"the service could write {written / MB:.1f} MB, then waits; {others(times)}; {scene.grown}"


def others(times: list[float]) -> str:
    """Return how other visitors fared."""
    return f"others are served in {sorted(times)[len(times) // 2] * 1000:.1f} ms at the median"


async def quick(scene: Scene) -> float:
    """Ask once, and return how long it took."""
    began = time.monotonic()
    reader, writer = await scene.open()
    writer.write(b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.read()).endswith(b"ok")
    writer.close()
    return time.monotonic() - began


async def hanging(count: int = 200) -> str:
    """Have requests hang in the service, and their visitors leave."""

    async def answer(reader: Reader, writer: Writer) -> None:
        if b"/quick" in await head_of(reader):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            return
        await reader.read()

    async with relayed(answer) as scene:
        free = scene.process.num_fds()
        opened = []
        for _ in range(count):
            _, writer = await scene.open()
            writer.write(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
            opened.append(writer)
        times = [await quick(scene) for _ in range(100)]
        during = scene.process.num_fds()
        for writer in opened:
            writer.transport.abort()
        end = time.monotonic() + 10
        while scene.process.num_fds() > free and time.monotonic() < end:  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.05)
        assert scene.process.num_fds() <= free, "descriptors are left"
        return (
            f"{count} requests hang ({during} descriptors), {others(times)}; no descriptor is left once their visitors are gone"
        )


async def half_closed() -> str:
    """Have a visitor end its direction before the answer begins, and the service end its own first."""

    async def answer(reader: Reader, writer: Writer) -> None:
        everything = await reader.read()
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        for _ in range(40):
            writer.write(PIECE)
            await writer.drain()
        writer.write(b"%d bytes came" % len(everything))

    async with relayed(answer) as scene:
        reader, writer = await scene.open()
        asked = b"POST / HTTP/1.0\r\n\r\n" + PIECE
        writer.write(asked)
        writer.write_eof()
        answered = await reader.read()
        assert answered.endswith(b"%d bytes came" % len(asked))
        writer.close()
        return f"all {len(asked):,} bytes reach the service, and all {len(answered):,} of the answer the visitor"


SCENES: dict[str, Callable[[], Awaitable[str]]] = {
    "500 MB streamed in chunks": streamed,
    "A body of 1 GB": body,
    f"{WEBSOCKETS:,} idle WebSockets": websockets,
    "A reader that stalls": stalled,
    "A service that hangs": hanging,
    "A visitor that is half closed": half_closed,
}


def raise_limits() -> None:
    """Allow this process as many descriptors as it may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
