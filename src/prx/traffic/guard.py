"""A relay with a gate: each request's head is held until it is judged, and only then forwarded, byte for byte.

The connector speaks HTTP/1 that Go has written, one request after the other on a connection that it uses for many visitors.
So every head is judged, not the first one alone. A request whose end is not clear is refused, and a connection that changes
to another protocol is let go only once the service has agreed (101); until then nothing more of the visitor's is read.
"""

from __future__ import annotations

import asyncio
from typing import Final

from prx.traffic.framing import End, Framing, Head, Raw
from prx.traffic.gate import UNCLEAR, Refusal
from prx.traffic.relay import Pair, Relay, Side
from prx.traffic.tee import SERVICE, VISITOR

LINGER_SECONDS: Final = 2.0  # for what a refused visitor still sends: closing at once would be a reset, and lose the answer


class GuardedSide(Side):
    """The connector's side of a guarded pair."""

    __slots__ = ("_framing", "_held", "_through", "refused")

    def __init__(self, pair: GuardedPair) -> None:
        super().__init__(pair, VISITOR)
        self._framing = Framing(of_requests=True)
        self._held = b""
        self._through = self.refused = False

    def data_received(self, data: bytes) -> None:
        """Judge every head that is whole; forward what is let through."""
        if self.refused:
            return
        if self._through:
            super().data_received(data)
            return
        data = self._held + data
        pieces = list(self._framing.feed(data[len(self._held) :]))
        heads = [piece for piece in pieces if isinstance(piece, Head)]
        if any(isinstance(piece, Raw) for piece in pieces):
            self._refuse(UNCLEAR, behind=bool(heads))
            return
        gate = self.pair.relay.gate
        for number, head in enumerate(heads):
            if gate is not None and (refusal := gate.judge(head)):
                self._refuse(refusal, behind=number > 0)
                return
        self._held = self._framing.held_head
        super().data_received(data[: len(data) - len(self._held)])
        if heads and heads[-1].upgrades and pieces and isinstance(pieces[-1], End) and self.transport is not None:
            assert isinstance(self.pair, GuardedPair)
            self.pair.awaits_upgrade = True
            self.transport.pause_reading()

    def let_through(self) -> None:
        """Judge nothing more: the service speaks another protocol now."""
        self._through = True
        held, self._held = self._held, b""
        if held:
            super().data_received(held)

    def eof_received(self) -> bool:
        """Pass the end on, but not that of a refused visitor."""
        if self.refused:
            self.pair.close()
            return False
        return super().eof_received()

    def _refuse(self, refusal: Refusal, *, behind: bool) -> None:
        """Answer in place of the service. `behind`: another request is under way, whose answer comes first: break off."""
        self.refused = True
        self.pair.copier.put(self.pair.tee, VISITOR, None)
        if behind or self.transport is None:
            self.pair.reset(self)
            return
        self.peer.detach()
        self.transport.write(refusal.answer())
        if self.transport.can_write_eof():
            self.transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self.pair.close)


class GuardedService(Side):
    """The service's side of a guarded pair."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        """Let the visitor go on if the service has answered an upgrade."""
        pair = self.pair
        assert isinstance(pair, GuardedPair)
        super().data_received(data)
        if pair.awaits_upgrade:
            pair.awaits_upgrade = False
            if data.startswith(b"HTTP/1.1 101") and isinstance(pair.visitor, GuardedSide):
                pair.visitor.let_through()
            if pair.visitor.transport is not None:
                pair.visitor.transport.resume_reading()


class GuardedPair(Pair):
    """A connection whose requests are judged. awaits_upgrade: the service has yet to say whether it changes the protocol."""

    def __init__(self, relay: Relay) -> None:
        self.awaits_upgrade = False
        super().__init__(relay)

    def _visitor(self) -> Side:
        return GuardedSide(self)

    def _service(self) -> Side:
        return GuardedService(self, SERVICE)
