"""The connectors that a tunnel has beyond the number that is wanted: they serve on until those that stay serve without them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from prx.runtime.connector import Connector
from prx.runtime.succession import Owner

ASK_EVERY = 0.5  # seconds between two questions whether those that stay can do without


class Surplus:
    """Ends connectors of one tunnel. dismiss: ends one."""

    def __init__(self, tunnel: Owner, *, dismiss: Callable[[Connector], None]) -> None:
        self._tunnel = tunnel
        self._dismiss = dismiss

    def _beyond(self) -> list[Connector]:
        """Return those that have to go and have not been asked to."""
        tunnel = self._tunnel
        own = [item for item in tunnel.connectors if item.index >= tunnel.replicas and item not in tunnel.leaving]
        return [item for item in own if item.is_wanted and tunnel.is_wanted]

    def end_soon(self) -> None:
        """End those at once that have no connection and had none, the others as soon as visitors lose nothing by it."""
        self._end(connector for connector in self._beyond() if not connector.has_served)
        if self._beyond():
            self._tunnel.errands.do("surplus", self._end_when_possible)

    async def _end_when_possible(self) -> None:
        while self._beyond():
            if await self._can_do_without():
                self._end(self._beyond())
                break
            await self._tunnel.context.clock.sleep(ASK_EVERY)
            self._end(connector for connector in self._beyond() if not connector.has_served)

    def _end(self, connectors: Iterable[Connector]) -> None:
        for connector in list(connectors):
            self._dismiss(connector)

    async def _can_do_without(self) -> bool:
        """Ask those that stay, now: one that has just been frozen is not known to be."""
        staying = [*map(self._tunnel.places.get, range(self._tunnel.replicas))]
        answers = await asyncio.gather(*(connector.confirm() for connector in staying if connector is not None))
        return len(answers) == len(staying) and all(answers)
