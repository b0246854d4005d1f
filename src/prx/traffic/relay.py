"""Listen for the connector, and have each of its connections carried to the service (`prx.traffic.pair`)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from prx.traffic.pair import Pair
from prx.traffic.tee import Copier

READ_SIZE: Final = 256 * 1024  # bytes that are read at a time
BACKLOG: Final = 1024


@dataclass(frozen=True, slots=True)
class Target:
    """Where the service is. `tls`: it speaks https, with this context, or the one that this returns, and for this name."""

    host: str
    port: int
    tls: ssl.SSLContext | Callable[[], ssl.SSLContext] | None = None
    server_name: str = ""

    @property
    def authority(self) -> str:
        """Return HOST:PORT, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def context(self) -> ssl.SSLContext | None:
        """Return what the next connection is made with; None without TLS."""
        return self.tls() if callable(self.tls) else self.tls


class Relay:
    """Listens on loopback from its making until `close`; `port` is where. It serves once `start` was awaited.

    target: where new connections go; it may be changed. on_refused(error) is called for each connection that the service
    refuses.
    """

    def __init__(
        self,
        target: Target,
        copier: Copier,
        *,
        port: int = 0,
        on_refused: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        self.buffer = memoryview(bytearray(READ_SIZE))
        self.held = 0  # bytes of requests that are being caught, of all connections
        self.target, self.copier, self.on_refused = target, copier, on_refused
        self.pairs: set[Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
        self.port = int(self._socket.getsockname()[1])
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The address that the connector is given."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Serve."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: self.pair().visitor, sock=self._socket, backlog=BACKLOG
        )

    def pair(self) -> Pair:
        """Return what carries the next connection."""
        return Pair(self)

    def has_expired(self, pair: Pair) -> bool:
        """Return whether a pair is such as is not made any more."""
        return False

    def discard(self) -> None:
        """Close it before it was started."""
        self._socket.close()

    def retarget(self, target: Target) -> None:
        """Send what comes from now on to another service; what is under way ends where it began."""
        if target == self.target:
            return
        self.target = target
        self.copier.read_all()
        for pair in list(self.pairs):
            pair.retire()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a piece of work of one connection."""
        # each belongs to one connection and fails alone, so they are in no task group; `close` ends them
        task = asyncio.get_running_loop().create_task(work, name=f"{self.copier.tunnel}: to the service")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self, *, shares: bool = False) -> None:
        """End with all connections. shares: another relay goes on with its copier."""
        if self._server is not None:
            self._server.close()
        self._socket.close()
        for task in self._tasks:
            task.cancel()
        for pair in list(self.pairs):
            pair.abort()
        if not shares:
            self.copier.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports close their sockets in the loop's next round
