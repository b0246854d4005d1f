"""What the relay of `prx start --inspect` costs on loopback: requests a second and the median, with and without it, in one run.

    python -m bench.relay [SECONDS]

The service and the visitor run in processes of their own, the relay in this one. Numbers are for this machine, at this load;
the ratio is what counts.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import sys
import time
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


async def main(seconds: float) -> None:
    """Measure without and with, for some numbers of connections."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    service = context.Process(target=serve, args=(theirs,), daemon=True)
    service.start()
    port = await asyncio.to_thread(mine.recv)
    ring = Ring(500, 64_000_000)
    relay = Relay(Target("127.0.0.1", port), Copier(ring, "bench", time.monotonic))
    await relay.start()
    print(
        "connections | without: requests/s, median | with: requests/s, median | ratio | added | CPU time of the relay for one"
    )
    for connections in (1, 16, 64):
        bare = await measured(context, port, connections, seconds)
        spent, seen = time.process_time(), ring.seen
        through = await measured(context, relay.port, connections, seconds)
        spent = time.process_time() - spent
        print(
            f"{connections:>11} | {bare[0]:>8.0f} {bare[1]:>6.0f} µs | {through[0]:>8.0f} {through[1]:>6.0f} µs | "
            f"{through[0] / bare[0]:.2f} | {through[1] - bare[1]:.0f} µs | "
            f"{spent / max(1, ring.seen - seen) * 1e6:.0f} µs"
        )
    print(f"exchanges read: {ring.seen}, pieces of the copy dropped: {ring.dropped}, kept: {len(ring)} in {ring.bytes} bytes")
    await relay.close()
    service.terminate()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 2.0))
