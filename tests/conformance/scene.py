"""One lab, one connector, two services: what a column of the table is measured in."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tests.conformance.origin import Service, serving
from tests.conformance.outcome import NotAvailableError
from tests.lab.connector.child import BUILTIN, Child, started
from tests.lab.edge.cloudflared import VARIABLE
from tests.support.waits import PATIENCE

from prx.lab import Lab, LabConfig

GRACE = "20s"
Way: TypeAlias = Callable[[str], Awaitable[str]]
"""Returns the URL that a connector is given for a service, which may be that of something in between."""


async def directly(url: str) -> str:
    """Lead the connector to the service itself."""
    return url


@dataclass(frozen=True)
class Column:
    """A connector and the protocol that it speaks with the edge."""

    connector: str
    protocol: str

    def __str__(self) -> str:
        return f"{self.connector} {self.protocol}"

    def program(self) -> tuple[str, ...]:
        """Return the command that runs it; NotAvailableError if there is none."""
        if self.connector == "builtin":
            return BUILTIN
        path = os.environ.get(VARIABLE, "")
        if not path:
            raise NotAvailableError(f"{VARIABLE} names no cloudflared")
        return (path,)


COLUMNS = tuple(Column(connector, protocol) for connector in ("cloudflared", "builtin") for protocol in ("http2", "quic"))
MODES = ("quick", "named")


@dataclass
class Scene:
    """Everything that a check may touch. `service` is where the tunnel leads, `other` where a pushed configuration may lead."""

    lab: Lab
    column: Column
    mode: str
    child: Child
    hostname: str
    service: Service
    other: Service
    way: Way = directly


@asynccontextmanager
async def scene(column: Column, mode: str, way: Way = directly) -> AsyncIterator[Scene]:
    """Put up a scene and wait until its connector is registered; AssertionError if that never happens."""
    program = column.program()
    with tempfile.TemporaryDirectory(prefix="prx-conformance-") as folder:
        async with Lab.start(LabConfig(limits="none")) as lab, serving("one") as service, serving("two") as other:
            arguments = _arguments(lab, Path(folder), column, mode, await way(service.url))
            async with started(arguments, Path(folder), command=program) as child:
                hostname = await _registered(lab, child, column, wanted=2 if mode == "named" else 1)
                yield Scene(lab, column, mode, child, hostname, service, other, way)


def _arguments(lab: Lab, folder: Path, column: Column, mode: str, url: str) -> list[str]:
    config, token = folder / "config.yml", folder / "token"
    config.write_text("{}")
    edges = [word for address in lab.edge_addrs for word in ("--edge", address)]
    common = [
        "--no-autoupdate",
        "--no-prechecks",
        "--config",
        str(config),
        "--metrics",
        "127.0.0.1:0",
        "--cacert",
        str(lab.ca_file),
    ]
    common += ["--protocol", column.protocol, "--grace-period", GRACE, "--url", url]
    if mode == "quick":
        return ["tunnel", *edges, *common, "--quick-service", lab.quick_service]
    token.write_text(lab.token("web"))
    # the first two connections start at once, each further one a second later
    return ["tunnel", *edges, *common, "--ha-connections", "2", "run", "--token-file", str(token)]


async def _registered(lab: Lab, child: Child, column: Column, wanted: int) -> str:
    """Wait for the connections; give the public name."""
    try:
        async with asyncio.timeout(PATIENCE):
            await lab.wait_for(lambda lab: any(len(tunnel.connections) == wanted for tunnel in lab.tunnels()))
    except TimeoutError:
        raise AssertionError(f"{column} never registered: {child.lines[-3:]}") from None
    tunnel = lab.tunnels()[0]
    protocols = {connection.protocol for connection in tunnel.connections}
    assert protocols == {column.protocol}, f"{column} registered over {protocols}"
    return tunnel.hostname
