"""An edge, a local service and the command of a connector that joins them."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.lab.connector.child import BUILTIN, Child, run, started
from tests.lab.connector.mini_edge import MiniEdge
from tests.support.origin import Origin

HTTP2_ONLY = pytest.mark.parametrize("protocol", ["http2"])
BUILTIN_ONLY = pytest.mark.parametrize("command", [BUILTIN], ids=["builtin"])


@dataclass
class Bench:
    """Everything that a connector is started with."""

    edge: MiniEdge
    origin: Origin
    command: Sequence[str]
    home: Path
    config: Path
    token: Path

    def common(self, *more: str, connections: int = 1) -> list[str]:
        """Return the part of the command line that named and quick tunnels share."""
        edges = [word for address in self.edge.addresses for word in ("--edge", address)]
        return [
            "tunnel", *edges, "--cacert", str(self.edge.ca), "--config", str(self.config), "--protocol", self.edge.protocol,
            "--no-prechecks", "--no-autoupdate", "--metrics", "127.0.0.1:0", "--ha-connections", str(connections), *more,
        ]  # fmt: skip

    def arguments(self, *more: str, connections: int = 1, url: str = "") -> list[str]:
        """Return the command line of a named tunnel."""
        run_flags = ["run", "--token-file", str(self.token), "--url", url or self.origin.url]
        return [*self.common(*more, connections=connections), *run_flags]

    def started(self, *more: str, connections: int = 1, url: str = "") -> AbstractAsyncContextManager[Child]:
        """Run a named tunnel for the length of a block."""
        words = self.arguments(*more, connections=connections, url=url)
        return started(words, self.home, command=self.command)

    async def up(self, child: Child, connections: int = 1) -> None:
        """Wait until both sides know that so many connections are registered, and connection 0 has said all."""
        await self.edge.connected(connections)
        await child.line("INF Registered tunnel connection", count=connections)
        if not self.edge.remotely_managed:
            await self.edge.told()

    async def run(self, *more: str) -> tuple[int, str, str]:
        """Run a named tunnel to its end; give exit code, stdout and stderr."""
        return await run(self.arguments(*more), self.home, command=self.command)
