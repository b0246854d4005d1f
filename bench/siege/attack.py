"""The attackers of the dashboard, a process of its own.

python -m bench.siege.attack HOST PORT BEARER CLIENTS DEAD CONNECTIONS
"""

from __future__ import annotations

import asyncio
import itertools
import json
import resource
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass, field

GB = 1_000_000_000


@dataclass
class Attack:
    """What the attackers have done."""

    host: str
    port: int
    bearer: str
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str, number: int = 1) -> None:
        """Count something."""
        self.counts[what] = self.counts.get(what, 0) + number

    def head(self, line: str, *more: str) -> bytes:
        """Return the head of a request with the token."""
        fields = (line, f"host: {self.host}:{self.port}", f"authorization: Bearer {self.bearer}", *more)
        return "\r\n".join((*fields, "", "")).encode()

    async def stream(self, *, dead: bool) -> None:
        """Follow the events, again and again; a dead client takes nothing after the head."""
        while True:
            with suppress(OSError):
                connection = socket.socket()
                if dead:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.setblocking(False)
                await asyncio.get_running_loop().sock_connect(connection, (self.host, self.port))
                reader, writer = await asyncio.open_connection(sock=connection, limit=4096)
                writer.write(self.head("GET /api/v1/events?after=x-0 HTTP/1.1"))  # with all that is kept
                self.count("streams")
                while not dead and await reader.read(65536):
                    self.count("reads of events")
                if dead:
                    await asyncio.sleep(3600)
            await asyncio.sleep(0.5)

    async def connect(self, total: int) -> None:
        """Open connections, one after the other, and leave most of them open without a request."""
        held: list[asyncio.StreamWriter] = []
        for _ in range(total):
            try:
                _, writer = await asyncio.open_connection(self.host, self.port)
            except OSError:
                self.count("connections that the system refused")
                await asyncio.sleep(0.01)
                continue
            self.count("connections")
            held.append(writer)
            if len(held) > 400:
                held.pop(0).transport.abort()

    async def pour(self, *, chunked: bool) -> None:
        """Send requests of 1 GB, as far as they are taken."""
        block = b"x" * 65536
        piece = b"%x\r\n%b\r\n" % (len(block), block) if chunked else block
        fields = ("transfer-encoding: chunked",) if chunked else (f"content-length: {GB}",)
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(self.host, self.port)
                writer.write(self.head("POST /api/v1/reload HTTP/1.1", "x-prx-action: 1", *fields))
                self.count("requests of 1 GB")
                for _ in range(GB // len(block)):
                    writer.write(piece)
                    await writer.drain()
                    self.count("bytes of them", len(piece))
            await asyncio.sleep(0.05)

    async def load(self, path: str) -> None:
        """Load a page without end; a * in its path is another number each time."""
        for number in itertools.count():
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection(self.host, self.port)
                writer.write(self.head(f"GET {path.replace('*', str(number))} HTTP/1.1", "connection: close"))
                while await reader.read(65536):
                    pass
                writer.close()
                self.count("pages")
            await asyncio.sleep(0)


async def make(attack: Attack, clients: int, dead: int, connections: int) -> None:
    """Attack until SIGTERM, then print what was done."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    paths = (
        "/",
        "/tunnels/{}/default/requests",
        "/api/v1/requests?filter=body:x",
        "/api/v1/requests?filter=body:*",
        "/api/v1/report?since=604800",
    )
    key = await _key(attack)
    work = [
        *(attack.stream(dead=number < dead) for number in range(clients)),
        attack.connect(connections),
        attack.pour(chunked=False),
        attack.pour(chunked=True),
        *(attack.load(path.format(key)) for path in paths),
    ]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(item, name=f"attacker {number}") for number, item in enumerate(work)]
        print("started", flush=True)
        await over.wait()
        for task in tasks:
            task.cancel()
    print(json.dumps(attack.counts))


async def _key(attack: Attack) -> str:
    """Return the key of the first prx that the dashboard sees."""
    while True:
        reader, writer = await asyncio.open_connection(attack.host, attack.port)
        writer.write(attack.head("GET /api/v1/status HTTP/1.1", "connection: close"))
        answer = await reader.read()
        writer.close()
        if found := json.loads(answer.partition(b"\r\n\r\n")[2])["prx"]:
            return str(found[0]["key"])
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    HOST, PORT, BEARER, *NUMBERS = sys.argv[1:]
    asyncio.run(make(Attack(HOST, int(PORT), BEARER), *map(int, NUMBERS)))
