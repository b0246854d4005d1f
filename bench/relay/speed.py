"""What the relay of `prx start --inspect` costs on loopback: requests a second and the median, with and without it, in one run.

The service and the visitor run in processes of their own, the relay in this one. Numbers are for this machine, at this load;
the ratio is what counts.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

from prx.traffic.relay import Relay, Target
from prx.traffic.ring import Ring
from prx.traffic.tee import Copier

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
REQUEST = (
    b"GET /hook?x=1 HTTP/1.1\r\nHost: app.example.com\r\nUser-Agent: bench\r\nAccept: */*\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
)


class Service(asyncio.Protocol):
    """Answers each request of REQUEST's size."""

    def connection_made(self, transport):
        """Begin."""
        self.transport, self.count = transport, 0

    def data_received(self, data):
        """Answer each whole request."""
        self.count += len(data)
        whole, self.count = divmod(self.count, len(REQUEST))
        self.transport.write(ANSWER * whole)


def serve(pipe: Connection) -> None:
    """Run the service, and send its port."""

    async def run():
        server = await asyncio.get_running_loop().create_server(Service, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


class Visitor(asyncio.Protocol):
    """Asks again as soon as it has its answer."""

    def __init__(self, times):
        self.times = times

    def connection_made(self, transport):
        """Begin."""
        self.transport, self.size = transport, 0
        self.ask()

    def ask(self):
        """Send a request."""
        self.began = time.perf_counter()
        self.transport.write(REQUEST)

    def data_received(self, data):
        """Count an answer, and ask again."""
        self.size += len(data)
        if self.size >= len(ANSWER):
            self.size -= len(ANSWER)
            self.times.append(time.perf_counter() - self.began)
            self.ask()


def visit(port: int, connections: int, seconds: float) -> tuple[float, float]:
    """Return requests a second, and the median in microseconds."""

    async def run():
        times = []
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            await loop.create_connection(lambda: Visitor(times), "127.0.0.1", port)
        await asyncio.sleep(0.3)
        times.clear()
        await asyncio.sleep(seconds)
        return len(times) / seconds, statistics.median(times) * 1e6

    return asyncio.run(run())


def _visit_in_child(pipe, *arguments):
    pipe.send(visit(*arguments))


async def measured(context, port: int, connections: int, seconds: float) -> tuple[float, float]:
    """Visit from another process."""
    mine, theirs = context.Pipe()
    child = context.Process(target=_visit_in_child, args=(theirs, port, connections, seconds), daemon=True)
    child.start()
    result = await asyncio.to_thread(mine.recv)
    child.join()
    return result


@dataclass(frozen=True)
class Row:
    """What a number of connections came to: requests/s and median µs, without and with.

    cpu: CPU time of the relay for each request, in µs; busy: which part of a core it had while it was measured.
    """

    connections: int
    bare: tuple[float, float]
    through: tuple[float, float]
    cpu: float
    busy: float

    @property
    def added(self) -> float:
        """Return what the relay adds at the median, in µs."""
        return self.through[1] - self.bare[1]


async def speeds(seconds: float, rounds: int = 3) -> tuple[list[Row], str]:
    """Measure without and with, in turns; the best round of each counts, as other programs can only make one worse."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    service = context.Process(target=serve, args=(theirs,), daemon=True)
    service.start()
    port = await asyncio.to_thread(mine.recv)
    ring = Ring(500, 64_000_000)
    relay = Relay(Target("127.0.0.1", port), Copier(ring, "bench", time.monotonic))
    await relay.start()
    rows = []
    for connections in (1, 16, 64):
        bare, through, cpu, busy = [], [], [], []
        for _ in range(rounds):
            bare.append(await measured(context, port, connections, seconds))
            spent = time.process_time()
            through.append(await measured(context, relay.port, connections, seconds))
            spent = time.process_time() - spent
            cpu.append(spent / max(1, through[-1][0] * seconds) * 1e6)
            busy.append(spent / seconds)
        rows.append(Row(connections, best(bare), best(through), min(cpu), max(busy)))
    kept = f"exchanges read: {ring.seen}, pieces of the copy dropped: {ring.dropped}, kept: {len(ring)} in {ring.bytes} bytes"
    await relay.close()
    service.terminate()
    return rows, kept


def best(found: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the best of some rounds: most requests a second, and the smallest median."""
    return max(rate for rate, _ in found), min(median for _, median in found)


def table(rows: list[Row]) -> str:
    """Return the rows as a table in Markdown."""
    lines = [
        "| connections | without: requests/s, median | with | ratio | added at the median | CPU for one | of a core |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.connections} | {row.bare[0]:,.0f}, {row.bare[1]:,.0f} µs | {row.through[0]:,.0f}, {row.through[1]:,.0f} µs | "
        f"{row.through[0] / row.bare[0]:.2f} | {row.added:,.0f} µs | {row.cpu:.0f} µs | {row.busy:.0%} |"
        for row in rows
    ]
    return "\n".join(lines)
