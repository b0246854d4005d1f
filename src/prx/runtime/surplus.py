"""The connectors that a tunnel has beyond the number that is wanted: they serve on until those that stay serve without them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from prx.runtime.connector import Connector
from prx.runtime.errands import Errands
from prx.runtime.host.clock import Clock

ASK_EVERY = 0.5  # seconds between two questions whether those that stay can do without


class Surplus:
    """Ends connectors of one tunnel.

    beyond: returns those that have to go and have not been asked to. staying: returns the others, one for each number, or None
    in the place of one that is missing just now. dismiss: ends one.
    """

    def __init__(
        self,
        clock: Clock,
        errands: Errands,
        *,
        beyond: Callable[[], Sequence[Connector]],
        staying: Callable[[], Sequence[Connector | None]],
        dismiss: Callable[[Connector], None],
    ) -> None:
        self._clock = clock
        self._beyond = beyond
        self._staying = staying
        self._dismiss = dismiss
        self._errands = errands

    def end_soon(self) -> None:
        """End those at once that have no connection and had none, the others as soon as visitors lose nothing by it."""
        self._end(connector for connector in self._beyond() if not connector.has_served)
        if self._beyond():
            self._errands.do("surplus", self._end_when_possible)

    async def _end_when_possible(self) -> None:
        while self._beyond():
            if await self._can_do_without():
                self._end(self._beyond())
                break
            await self._clock.sleep(ASK_EVERY)
            self._end(connector for connector in self._beyond() if not connector.has_served)

    def _end(self, connectors: Iterable[Connector]) -> None:
        for connector in list(connectors):
            self._dismiss(connector)

    async def _can_do_without(self) -> bool:
        """Ask those that stay, now: one that has just been frozen is not known to be."""
        staying = self._staying()
        answers = await asyncio.gather(*(connector.confirm() for connector in staying if connector is not None))
        return len(answers) == len(staying) and all(answers)
