"""Play many exchanges: visitors at random, services that misbehave at random, and every byte that arrives is checked."""

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import trustme
from tests.lab.connector.exchanges.connector import Joined, joined
from tests.lab.connector.exchanges.http1_origin import Http1Origin
from tests.lab.connector.exchanges.http2_origin import Http2Origin
from tests.lab.connector.exchanges.marks import foreign, mark_of
from tests.lab.connector.http2_edge import Http2Edge
from tests.lab.connector.mini_edge import MiniEdge, finish
from tests.lab.connector.quic_edge import QuicEdge
from tests.support.waits import PATIENCE

from prx.lab.protocol.errors import StreamError
from prx.lab.protocol.headers import Headers

_AT_ONCE = 12  # services
_VISITORS = 16
_PER_SERVICE = 40  # exchanges, on average

Origin = Http1Origin | Http2Origin


@dataclass
class Tally:
    """What came of the exchanges; `leaks` must stay empty."""

    outcomes: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    exchanges: int = 0
    leaks: list[str] = field(default_factory=list)

    @property
    def reused(self) -> int:
        """How many exchanges went over a connection that had carried another."""
        return self.exchanges - self.connections


async def play(folder: Path, protocol: str, seed: int, count: int, *, only: str = "") -> Tally:
    """Play so many exchanges with a connector over this protocol; `only`: with services of this version of HTTP."""
    game = _Game(folder, Random(seed), count, only)
    kind = QuicEdge if protocol == "quic" else Http2Edge
    async with kind(folder).running() as edge, joined(edge) as connector:
        await game.run(edge, connector)
    return game.tally


class _Game:
    def __init__(self, folder: Path, rng: Random, count: int, only: str) -> None:
        self.tally = Tally()
        self._rng = rng
        self._left = count
        self._number = 0
        self._version = 0
        self._only = only
        authority = trustme.CA()
        self._ca = folder / "service-ca"
        authority.cert_pem.write_to_path(str(self._ca))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self._context)
        self._context.set_alpn_protocols(["h2"])

    async def run(self, edge: MiniEdge, connector: Joined) -> None:
        """Play round after round, each with services of its own."""
        while self._left > 0:
            count = min(self._left, _AT_ONCE * _PER_SERVICE)
            self._left -= count
            async with self._services(connector) as services:
                share = [count // _VISITORS + (index < count % _VISITORS) for index in range(_VISITORS)]
                async with asyncio.TaskGroup() as tasks:
                    for turns in share:
                        tasks.create_task(self._visit(edge, len(services), turns))
            self.tally.connections += sum(service.connections for service in services)

    @asynccontextmanager
    async def _services(self, connector: Joined) -> AsyncIterator[list[Origin]]:
        async with AsyncExitStack() as stack:
            services: list[Origin] = []
            rules: list[dict[str, object]] = []
            for index in range(_AT_ONCE):
                report: Callable[[str], None] = self.tally.leaks.append
                spoken = self._only or self._rng.choice(["http1", "http1", "http1", "http2"])
                rng = Random(self._rng.random())
                origin: Origin
                origin = Http1Origin(rng, report) if spoken == "http1" else Http2Origin(rng, report, self._context)
                services.append(await stack.enter_async_context(origin.running()))
                options = {"http2Origin": spoken == "http2", "caPool": str(self._ca)}
                rules.append({"hostname": f"o{index}.test", "service": origin.url, "originRequest": options})
            self._version += 1
            applied = connector.configuration.apply(
                self._version, json.dumps({"ingress": [*rules, {"service": "http_status:404"}]})
            )
            assert not applied.error
            yield services

    async def _visit(self, edge: MiniEdge, services: int, turns: int) -> None:
        rng = Random(self._rng.random())
        for _ in range(turns):
            await asyncio.sleep(rng.choice([0, 0, 0.0005, 0.002, 0.004]))
            self._number += 1
            mark = mark_of(self._number)
            try:
                async with asyncio.timeout(PATIENCE):
                    outcome = await self._ask(edge, f"o{rng.randrange(services)}.test", mark, rng)
            except StreamError:
                outcome = "broken off"
            except TimeoutError:
                outcome = "time-out"
            self.tally.exchanges += 1
            self.tally.outcomes[outcome] += 1

    async def _ask(self, edge: MiniEdge, host: str, mark: bytes, rng: Random) -> str:
        method = rng.choice(["GET", "GET", "GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "TRACE"])
        bodies = [b"", mark * 3, mark * 2000, b"GET / HTTP/1.1\r\nHost: a\r\nX-Mark: " + mark + b"\r\n\r\n"]
        body = rng.choice(bodies) if method in {"POST", "PUT"} else b""
        headers: Headers = [(b"x-mark", mark)]
        if body and rng.random() < 0.7:
            headers.append((b"content-length", b"%d" % len(body)))
        stream = await edge.open(method, "/path", headers, host=host, end=not body)
        try:
            if body:
                await stream.send_data(body, end=True)
            if rng.random() < 0.05:
                await stream.response()
                return "left"
            reply = await finish(stream)
        finally:
            stream.reset()
        seen = "\n".join(reply.headers.values()).encode() + b"\n" + reply.body
        if strange := foreign(seen, mark):
            self.tally.leaks.append(f"{method} {host} {mark!r} saw {strange!r} in {reply.status} {seen[:300]!r}")
        return str(reply.status)
