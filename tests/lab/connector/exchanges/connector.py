"""A connector inside the test's own process, so that one seed always plays the same game."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.lab.connector.mini_edge import MiniEdge
from tests.lab.connector.stage import TUNNEL

from prx.lab.connector.command_line import parse
from prx.lab.connector.credentials import Credentials
from prx.lab.connector.edge.addresses import EdgeAddress
from prx.lab.connector.edge.http2 import Http2Transport, tls_context
from prx.lab.connector.edge.quic import QuicTransport
from prx.lab.connector.edge.transport import EdgeConnectionError, Link, Shared, Transport
from prx.lab.connector.log import Log
from prx.lab.connector.metrics import Metrics
from prx.lab.connector.origin.ingress import OriginOptions
from prx.lab.connector.origin.proxy import Proxy
from prx.lab.connector.origin.rules_in_force import Configuration
from prx.lab.connector.settings import read_settings
from prx.lab.connector.state import State


@dataclass
class Joined:
    """A connector that is registered with an edge."""

    configuration: Configuration
    lines: list[str] = field(default_factory=list)


@asynccontextmanager
async def joined(edge: MiniEdge, keep: Callable[[str], bool] = lambda _: False) -> AsyncIterator[Joined]:
    """Carry one connection to the edge until the block ends; lines of the log that `keep` wants are kept."""
    lines: list[str] = []
    log = Log(sink=lambda line: lines.append(line) if keep(line) else None)
    metrics = Metrics()
    settings = read_settings(parse(["tunnel", "--cacert", str(edge.ca)], {}).values, quick=False)
    configuration = Configuration((), defaults=OriginOptions(), flags={}, log=log)
    proxy = Proxy(configuration, tags={}, metrics=metrics, log=log, now=asyncio.get_running_loop().time)
    state = State(TUNNEL, metrics)
    shared = Shared(settings, Credentials("a", TUNNEL, b"secret"), configuration, proxy, state, log, asyncio.Event())
    kind: dict[str, Callable[[], Transport]] = {
        "http2": lambda: Http2Transport(shared, tls_context(settings.cacert)),
        "quic": lambda: QuicTransport(shared),
    }
    host, _, port = edge.addresses[0].rpartition(":")

    async def carry() -> None:
        with suppress(EdgeConnectionError):
            await kind[edge.protocol]().serve(Link(0, EdgeAddress(host, int(port)), 0, lambda: None))

    async with asyncio.TaskGroup() as tasks:
        carrying = tasks.create_task(carry(), name="connector")
        await edge.connected(1)
        try:
            yield Joined(configuration, lines)
        finally:
            carrying.cancel()
            proxy.close()
