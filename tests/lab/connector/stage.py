"""A supervisor whose transports play a script."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from prx.lab.connector.command_line import parse
from prx.lab.connector.credentials import Credentials
from prx.lab.connector.edge.addresses import EdgeAddress, EdgeAddresses
from prx.lab.connector.edge.fallback import Protocols
from prx.lab.connector.edge.supervisor import Supervisor, Timing
from prx.lab.connector.edge.transport import EdgeConnectionError, Link, Shared
from prx.lab.connector.log import Log
from prx.lab.connector.metrics import Metrics
from prx.lab.connector.origin.ingress import OriginOptions
from prx.lab.connector.origin.proxy import Proxy
from prx.lab.connector.origin.rules_in_force import Configuration
from prx.lab.connector.settings import read_settings
from prx.lab.connector.state import Connected, State

TUNNEL = UUID(int=7)


@dataclass
class Over:
    """A transport of a stage, for one protocol."""

    stage: "Stage"
    protocol: str

    async def serve(self, link: Link) -> None:
        """Play the next part of the script."""
        self.stage.spoken.append(self.protocol)
        await self.stage.serve(link)


@dataclass
class Stage:
    """A supervisor whose transport plays a script: per attempt an error, or a stay until it is asked to break."""

    script: list[Exception | None]
    connections: int = 1
    slots: int = 4
    attempts: list[tuple[int, int]] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    protocols: Protocols = field(default_factory=Protocols)
    spoken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        log = Log(sink=self.lines.append)
        metrics = Metrics()
        values = parse(["tunnel", "--ha-connections", str(self.connections), "--retries", "3"], {}).values
        config = Configuration((), defaults=OriginOptions(), flags={}, log=log)
        self.supervisor: Supervisor | None = None
        self.state = State(TUNNEL, metrics)
        self.stopping = asyncio.Event()
        self.changed = asyncio.Condition()
        self.breaks: dict[int, asyncio.Event] = {}
        self.shared = Shared(
            read_settings(values, quick=False),
            Credentials("a", TUNNEL, b""),
            config,
            Proxy(config, tags={}, metrics=metrics, log=log, now=lambda: 0.0),
            self.state,
            log,
            self.stopping,
        )

    async def serve(self, link: Link) -> None:
        """Play the next part of the script."""
        self.attempts.append((link.index, link.address.port))
        error = self.script.pop(0) if self.script else None
        if error is not None:
            raise error
        self.breaks[link.index] = asyncio.Event()
        self.state.connected(link.index, Connected("http2", link.address.ip, "x"))
        link.registered()
        await self._note()
        async with asyncio.TaskGroup() as tasks:
            broken = tasks.create_task(self.breaks[link.index].wait())
            stopped = tasks.create_task(self.stopping.wait())
            await asyncio.wait({broken, stopped}, return_when=asyncio.FIRST_COMPLETED)
            lost = broken.done()
            broken.cancel()
            stopped.cancel()
        self.state.gone(link.index)
        await self._note()
        if lost:
            raise EdgeConnectionError("connection with edge closed")

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(condition)

    async def run(self) -> None:
        """Run to the end."""

        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            await asyncio.sleep(0)

        addresses = EdgeAddresses([EdgeAddress("127.0.0.1", port) for port in range(self.slots)], pick=lambda _: 0)
        timing = Timing(now=lambda: 0.0, random=lambda: 0.5, sleep=sleep)
        transports = {protocol: Over(self, protocol) for protocol in self.protocols.all}
        self.supervisor = Supervisor(self.shared, transports, addresses, timing, protocols=self.protocols)
        await self.supervisor.run()

    async def _note(self) -> None:
        async with self.changed:
            self.changed.notify_all()


async def stopped_when(stage: Stage, condition: Callable[[], bool]) -> None:
    """Run a stage, and ask for a stop once something is so."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stage.run())
        await stage.until(condition)
        stage.stopping.set()
