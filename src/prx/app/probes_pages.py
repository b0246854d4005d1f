"""What `[web] probes` answers, from the events and the status of one prx."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from prx import __version__
from prx.app.probes_server import Answer, ProbesServer
from prx.core.status import TunnelStatus
from prx.metrics.collection import Collector
from prx.metrics.connectors import ConnectorCounts, ConnectorTotals
from prx.metrics.readiness import not_ready
from prx.runtime.bus import Bus

if TYPE_CHECKING:
    from prx.backends.base import Counters

Statuses = Callable[[], tuple[TunnelStatus, ...]]
# for each tunnel what each running connector counts, by its pid, and at 0 what those that have ended did
Ask = Callable[[], Awaitable[Mapping[str, Mapping[int, "Counters | None"]]]]


async def serve_probes(stack: AsyncExitStack, address: str, bus: Bus, statuses: Statuses, counters: Ask) -> ProbesServer:
    """Begin to count, and to answer at `address` until `stack` is closed; PermanentError if that cannot be."""
    collector = Collector()
    bus.listen(collector.see)

    async def healthz() -> Answer:
        return Answer(200, b"ok\n")

    async def readyz() -> Answer:
        problems = not_ready(statuses())
        return Answer(503, "\n".join(["not ready", *problems, ""]).encode()) if problems else Answer(200, b"ready\n")

    totals: dict[str, ConnectorTotals] = {}

    async def metrics() -> Answer:
        from prx.metrics.exposition import CONTENT_TYPE, Snapshot, render  # at the first scrape

        connectors = {}
        for name, running in (await counters()).items():
            seen = {pid: None if found is None else _counts(found) for pid, found in running.items()}
            past = seen.pop(0, None) or ConnectorCounts()
            if (total := totals.setdefault(name, ConnectorTotals()).see(past, seen)) is not None:
                connectors[name] = total
        snapshot = Snapshot(__version__, statuses(), collector.tunnels, connectors, bus.dropped)
        return Answer(200, render(snapshot).encode(), CONTENT_TYPE)

    server = ProbesServer(address, {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics})
    return await stack.enter_async_context(server)


def _counts(found: Counters) -> ConnectorCounts:
    return ConnectorCounts(found.requests, found.request_errors, found.in_flight, found.registered, found.rejected, found.said)
