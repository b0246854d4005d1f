"""The connectors of a named tunnel that speak HTTP/2 because QUIC did not get through: when they try QUIC again."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prx.core.states import State
from prx.runtime.connector import Connector
from prx.runtime.context import TunnelContext
from prx.runtime.errands import Errands
from prx.runtime.protocol_choice import ProtocolChoice
from prx.runtime.quic_return import QuicReturn
from prx.runtime.succession import Succession


class FallenBack:
    """Has connectors of one tunnel replaced once QUIC gets through again, in a minute without visitors.

    places: returns the connectors. standing: returns the tunnel's context, which a reload exchanges, and its observed state.
    """

    def __init__(
        self,
        protocol: ProtocolChoice,
        succession: Succession,
        errands: Errands,
        *,
        places: Callable[[], Iterable[Connector]],
        standing: Callable[[], tuple[TunnelContext, State]],
    ) -> None:
        self._protocol = protocol
        self._succession = succession
        self._errands = errands
        self._places = places
        self._standing = standing

    def check(self, connector: Connector) -> None:
        """Take in that `connector` may have fallen back."""
        if self._is_one(connector):
            self._errands.do("return to QUIC", self._return)

    def _is_one(self, connector: Connector) -> bool:
        return self._protocol.has_fallen_back(connector.context, connector.machine.protocol)

    async def _return(self) -> None:
        """Try QUIC again every minute, until no connector is left that has fallen back."""
        while True:
            await self._standing()[0].clock.sleep(QuicReturn.EVERY)
            context, state = self._standing()
            fallen = [item for item in self._places() if self._is_one(item)]
            if not fallen:
                self._protocol.interrupt()
                return
            if state is not State.READY:
                self._protocol.interrupt()
            elif await self._protocol.may_return(context, await self._visitors()):
                self._succession.replace(fallen, "QUIC gets through again")

    async def _visitors(self) -> int | None:
        """Return how many requests of visitors have come through all connectors, None if that is not known."""
        counts = [await connector.visitors() for connector in list(self._places())]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None
